"""Whose signature an update has to bear: the key that the roster has for its hospital, as it is now."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from server.environment import ROSTER_VARIABLE
from server.roster_keys import read_roster

ROSTER = "roster"


def signers_of(state_path: Path) -> Callable[[str], bytes | None]:
    """Gives a hospital's public key (PEM) by its name; None for a hospital that the roster does not know."""
    return partial(_key, Path(os.environ.get(ROSTER_VARIABLE) or state_path / ROSTER))


def _key(roster: Path, site: str) -> bytes | None:
    return read_roster(roster).keys.get(site)
