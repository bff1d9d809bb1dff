"""The command that shows a study's plan, and decides what it says beside the study."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from federation.terminal import emit
from server.arguments import Json, State

if TYPE_CHECKING:
    from federation.plan import Plan, SignedPlan
    from server.store import StudyStore

app = typer.Typer()


@app.command()
def plan(
    study: Annotated[str, typer.Argument(help="The study: its YAML file, or its name.")],
    state: State,
    data_use: Annotated[
        str | None, typer.Option(help="What the radiographs are used for, in a sentence.")
    ] = None,
    ends: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Last day of the study; a year from now at first."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the signed plan that hospitals have to approve; another use or end makes a new plan, to be approved again."""
    from federation.plan import parse_plan
    from server.plans.issuing import Terms, signed_plan

    store = _store(state.resolve(), study)
    terms = Terms(data_use=data_use, ends=ends.date() if ends else None)
    signed = signed_plan(store, terms)
    says = parse_plan(signed.text)
    emit(_facts(signed, says), _text(signed, says), as_json=as_json)


def _store(state: Path, study: str) -> "StudyStore":
    """The study's store; a study that was never run gets one."""
    from federation.config import load_study
    from server.state_folder import open_state_folder
    from server.store import StudyStore
    from server.watch import study_named

    if not study.endswith((".yaml", ".yml")):
        return study_named(state, study)
    config = load_study(Path(study))
    return StudyStore.create(open_state_folder(state), config)


def _facts(signed: "SignedPlan", says: "Plan") -> dict[str, object]:
    return {
        "study": says.study.name,
        "digest": signed.digest,
        "ends": says.ends.isoformat(),
        "data_use": says.data_use,
        "code_digest": says.code_digest,
        "base_digest": says.base_digest,
        "issued": says.issued,
        "signature": signed.signature.hex(),
        "plan": signed.text,
    }


def _text(signed: "SignedPlan", says: "Plan") -> str:
    lines = [
        f"{says.study.name}: plan {signed.digest}",
        f"  {says.study.num_rounds} rounds, ends on {says.ends}",
        f"  data use: {says.data_use}",
        f"  program {says.code_digest}",
        f"  starts from {says.base_digest or 'fresh weights'}",
        "Hospitals get it with the first round; `fedcxr hospital review` shows it there, under the same digest.",
    ]
    return "\n".join(lines)
