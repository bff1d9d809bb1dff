"""`fedcxr doctor`: look a hospital over, say what is not well, whose job that is, and what to type."""

from pathlib import Path
from typing import Annotated

import typer

from client.arguments import Json, Site
from federation.exit_codes import ExitCode
from federation.terminal import emit

app = typer.Typer()


@app.command()
def doctor(
    site: Site,
    study: Annotated[
        Path | None,
        typer.Option(help="The study to take part in, as YAML; else that of the last plan."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Look the hospital over within 30 seconds; exit code 1 means that something has to be mended first.

    Nothing is changed, and nothing of a patient is told or sent.
    """
    import time

    from client.config import load_site
    from client.doctor.checks import CHECKS
    from client.doctor.hospital import hospital_of, study_of_last_plan
    from federation.config import load_study
    from federation.diagnosis import diagnosis_facts, diagnosis_text, examine, has_failed

    started = time.monotonic()
    profile = load_site(site)
    plan = load_study(study) if study else study_of_last_plan(profile)
    examined = examine(hospital_of(profile, site, plan), CHECKS)
    seconds = time.monotonic() - started
    facts = {"site": profile.site_name, **diagnosis_facts(examined, seconds=seconds)}
    emit(facts, diagnosis_text(examined, seconds=seconds), as_json=as_json)
    if has_failed(examined):
        raise typer.Exit(ExitCode.NOT_READY)
