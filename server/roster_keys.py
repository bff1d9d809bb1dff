"""What the roster's folder says: one public key per hospital, under the name of its file.

``north.pub`` or ``joined/north.pub`` is north. Knows nothing of Flower: whoever only asks who is on the roster starts fast.
"""

import contextlib
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from federation.node_keys import NodeKeyUnusable, read_public_key

Fingerprint = frozenset[tuple[str, int, int, int]]
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


def fingerprint(folder: Path) -> Fingerprint:
    """Changes whenever a key below a folder is added, replaced or removed."""
    found = set()
    for path in folder.rglob("*.pub"):
        with contextlib.suppress(FileNotFoundError):
            about = path.stat()
            found.add((str(path), about.st_mtime_ns, about.st_size, about.st_ino))
    return frozenset(found)


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
