"""`fedcxr hospital audit`: attack a model and sign what was found; show what happened and what left; check it all."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from client.arguments import Json, Site
from client.evidence.cli import accept_loss, show_log, show_receipts, verify_evidence
from federation.terminal import emit

FAILED = 1

app = typer.Typer(
    no_args_is_help=True, help="Show and check what happened, what left, and what attacks find."
)
app.command("log")(show_log)
app.command("receipts")(show_receipts)
app.command("verify")(verify_evidence)
app.command("accept-loss")(accept_loss)


@app.command("run")
def run(
    model: Annotated[Path, typer.Argument(help="Folder of the study's model or adapter.")],
    site: Site,
    base: Annotated[
        Path | None,
        typer.Option(help="Folder of the model that it grew from; an adapter needs it."),
    ] = None,
    study: Annotated[
        Path | None, typer.Option(help="The study's plan, to name the constants of its training.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="A new folder; by default one in the hospital's state folder."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Attack a model with this hospital's own records, and sign what was promised, sent and found."""
    from client.audit.audit import audit
    from client.audit.folder import PAGE, check_free, write_audit
    from client.config import load_site
    from federation.config import load_study
    from federation.node_keys import make_node_key

    profile = load_site(site)
    moment = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    folder = out or profile.state_path / "audits" / moment
    check_free(folder)
    plan = None if study is None else load_study(study)
    facts = audit(profile, model, base=base, study=plan)
    write_audit(folder, facts, make_node_key(profile.state_path, profile.site_name))
    lines = [f"{check['status']:5}{check['name']}: {check['found']}" for check in facts["checks"]]
    text = "\n".join([*lines, f"verdict: {facts['verdict']}", f"page: {folder / PAGE}"])
    emit(facts, text, as_json=as_json)
    if facts["verdict"] == "FAIL":
        raise typer.Exit(FAILED)


@app.command("check")
def check(
    folder: Annotated[Path, typer.Argument(help="Folder of an audit.")],
    key: Annotated[Path, typer.Argument(help="The hospital's public key (.pub).")],
    as_json: Json = False,
) -> None:
    """Check that an audit is what the hospital signed."""
    from client.audit.folder import verify_audit
    from client.audit.signature import fingerprint

    facts = verify_audit(folder, key)
    signed = {"signed": True, "key": fingerprint(key), "verdict": facts["verdict"]}
    text = f"signed by {facts['site']} ({signed['key']}), verdict {facts['verdict']}"
    emit(signed, text, as_json=as_json)
