"""The roster: a folder with one public key per hospital, and Flower's list of nodes kept equal to it.

A hospital takes part under the name of its file: ``north.pub`` or ``joined/north.pub`` is north. Removing the
file ends its part for good, since Flower never accepts a key again that was taken back.
"""

import logging
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from federation.node_keys import NodeKeyUnusable, read_public_key
from server.control import UNREGISTERED, Control, RegisteredNode

logger = logging.getLogger(__name__)

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


@dataclass(frozen=True, kw_only=True, slots=True)
class RosterListing:
    """What the folder says."""

    keys: Mapping[str, bytes]
    """Public key (PEM) by site name."""
    problems: tuple[str, ...]
    """One sentence per file that cannot be used; files are called by their stem."""
    unsettled: frozenset[str]
    """Names that have a file, but none that counts; nobody is removed because of a damaged file."""


def read_roster(folder: Path) -> RosterListing:
    """Every key in the folder and the folders below it."""
    files = defaultdict(list)
    for path in sorted(folder.rglob("*.pub")):
        files[path.stem].append(path)
    keys: dict[str, bytes] = {}
    problems: dict[str, str] = {}
    for name, paths in files.items():
        problem = _problem_of_name(name, paths)
        if not problem:
            try:
                keys[name] = read_public_key(paths[0])
            except NodeKeyUnusable:
                problem = f"{name}: not a public key of a node; ask the hospital for its file again"
        if problem:
            problems[name] = problem
    twins = _shared_keys(keys)
    problems |= twins
    return RosterListing(
        keys={name: key for name, key in keys.items() if name not in twins},
        problems=tuple(problems[name] for name in sorted(problems)),
        unsettled=frozenset(problems),
    )


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


def _problem_of_name(name: str, paths: list[Path]) -> str:
    if not NAME.fullmatch(name):
        return f"{name!r}: a site name has lower-case letters, digits and hyphens only; rename the file"
    if len(paths) > 1:
        return f"{name}: {len(paths)} files have this name; remove all but one"
    return ""


def _shared_keys(keys: Mapping[str, bytes]) -> dict[str, str]:
    """Names whose key another name has too: one of them is an impostor or a mistake."""
    names = defaultdict(list)
    for name, key in keys.items():
        names[key].append(name)
    shared = [name for group in names.values() if len(group) > 1 for name in group]
    return {
        name: f"{name}: another name has the same key; remove one of the files" for name in shared
    }
