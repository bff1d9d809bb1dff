"""What every command of a coordinator is told: its state folder, which need not be typed where it has its usual place."""

from pathlib import Path
from typing import Annotated

import typer

STATE_VARIABLE = "FEDCXR_STATE"
HERE = Path("fedcxr-state")
MACHINES = Path("/var/lib/fedcxr")


def usual_state() -> Path:
    """The state folder of the folder one is in, else the machine's; the first where there is neither."""
    return MACHINES if MACHINES.is_dir() and not HERE.is_dir() else HERE


State = Annotated[
    Path,
    typer.Option(
        "--state",
        readable=False,  # what is wrong with a folder is told in the program's own words
        help="Folder for everything the coordinator keeps; else ./fedcxr-state or /var/lib/fedcxr.",
        envvar=STATE_VARIABLE,
        default_factory=usual_state,
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print facts as JSON instead of text.")]
