"""What every command of a hospital is told: its profile, which need not be typed where it lies in its usual place."""

from pathlib import Path
from typing import Annotated

import typer

SITE_VARIABLE = "FEDCXR_SITE"
USUAL_PLACES = (Path("site.yaml"), Path("/etc/fedcxr/site.yaml"))


class NoProfile(ValueError):
    """No profile was named, and none lies in a usual place."""

    def __init__(self) -> None:
        places = " and ".join(map(str, USUAL_PLACES))
        super().__init__(
            f"no hospital's profile was named, and there is none at {places}: name the file, set {SITE_VARIABLE}, or go "
            "to the folder in which `fedcxr hospital join` was typed."
        )


def usual_site() -> Path:
    """The profile of the folder one is in, else the machine's.

    Raises:
        NoProfile: if there is neither.
    """
    for place in USUAL_PLACES:
        if place.is_file():
            return place
    raise NoProfile


Site = Annotated[
    Path,
    typer.Argument(
        help="The hospital's profile, as YAML; else ./site.yaml or /etc/fedcxr/site.yaml.",
        envvar=SITE_VARIABLE,
        default_factory=usual_site,
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print facts as JSON instead of text.")]
