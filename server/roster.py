"""The roster: a folder with one public key per hospital, and Flower's list of nodes kept equal to it.

A hospital takes part under the name of its file: ``north.pub`` or ``joined/north.pub`` is north. Removing the
file ends its part for good, since Flower never accepts a key again that was taken back.
"""

import logging
from dataclasses import dataclass, field
from pathlib import Path

from server.control import UNREGISTERED, Control, RegisteredNode
from server.roster_keys import RosterListing, read_roster

logger = logging.getLogger(__name__)


@dataclass(kw_only=True, slots=True)
class Roster:
    """Keeps Flower's nodes equal to a folder; asks Flower only when the folder changed."""

    folder: Path
    _settled: RosterListing | None = None
    _told: set[str] = field(default_factory=set)

    def sync(self, control: Control) -> None:
        """Admit who is new, take back the keys of who is gone.

        Raises:
            ControlRefused: if the SuperLink does not answer; the next call does the rest.
        """
        listing = read_roster(self.folder)
        if listing == self._settled:
            return
        problems = [*listing.problems, *_apply(listing, control)]
        for problem in problems:
            if problem not in self._told:
                logger.warning("roster: %s", problem)
        self._told = set(problems)
        self._settled = listing


def _apply(listing: RosterListing, control: Control) -> list[str]:
    """Change Flower's list; returns what a person has to look at."""
    nodes = control.nodes()
    known = {node.public_key: node for node in nodes}
    active = [node for node in nodes if node.status != UNREGISTERED]
    problems = []
    if active and not listing.keys:
        return ["no usable key is left, so nobody was removed: is the folder there?"]
    for node in active:
        if node.name not in listing.unsettled and listing.keys.get(node.name) != node.public_key:
            control.unregister(node.node_id)
            logger.info("roster: %s removed", node.name)
    for name, key in listing.keys.items():
        problem = _admit(name, key, known.get(key), control)
        problems += [problem] if problem else []
    return problems


def _admit(name: str, key: bytes, node: RegisteredNode | None, control: Control) -> str:
    if node is None:
        control.register(name, key)
        logger.info("roster: %s admitted", name)
        return ""
    if node.status == UNREGISTERED or node.name != name:
        return (
            f"{name}: this key was in use before and was taken back; the hospital must remove node.key "
            "from its state folder, start again, and hand over the new public key"
        )
    return ""
