"""The two commands of an audit: make one, and check one that somebody was given."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from federation.terminal import emit

Site = Annotated[Path, typer.Argument(help="The hospital's profile, as YAML.")]
Json = Annotated[bool, typer.Option("--json", help="Print facts as JSON instead of text.")]
FAILED = 1


def audit(
    site: Site,
    model: Annotated[Path, typer.Argument(help="Folder of the study's model or adapter.")],
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
    from client.audit.audit import audit as run_audit
    from client.audit.folder import PAGE, check_free, write_audit
    from client.config import load_site
    from federation.config import load_study
    from federation.node_keys import make_node_key

    profile = load_site(site)
    moment = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    folder = out or profile.state_path / "audits" / moment
    check_free(folder)
    plan = None if study is None else load_study(study)
    facts = run_audit(profile, model, base=base, study=plan)
    write_audit(folder, facts, make_node_key(profile.state_path, profile.site_name))
    lines = [f"{check['status']:5}{check['name']}: {check['found']}" for check in facts["checks"]]
    text = "\n".join([*lines, f"verdict: {facts['verdict']}", f"page: {folder / PAGE}"])
    emit(facts, text, as_json=as_json)
    if facts["verdict"] == "FAIL":
        raise typer.Exit(FAILED)


def audit_verify(
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
