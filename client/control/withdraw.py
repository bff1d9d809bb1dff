"""Leaving a study, or all of them: nothing more is answered, and what was ready to be sent is deleted.

What stays is what protects the patients: the privacy ledger, the counts that left once, the key that signs receipts.
"""

import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from client.config import SiteConfig
from client.control.orders import EVERY_STUDY, Order, Orders, change_orders, order
from client.kept import UPDATE
from client.plans.store import kept_plans, take_back
from federation.files import AlreadyRunning, hold_lock

END_SECONDS = 60.0
"""That a step of training may go on before it looks whether the hospital has withdrawn."""
SHOWN_DIGITS = 12
KEPT = frozenset({"lock", "delivery.lock", "witness.key"})


class NoSuchStudy(LookupError):
    """Words that name no study that this hospital knows, or several."""

    def __init__(self, words: str, known: dict[str, str]) -> None:
        names = ", ".join(
            f"{digest[:SHOWN_DIGITS]} {name}".strip() for digest, name in sorted(known.items())
        )
        super().__init__(
            f"{words} names none or several of the studies that this hospital knows ({names or 'there are none'}): type "
            "the beginning of one's digest, or leave --study out to withdraw from all"
        )


class StillTraining(RuntimeError):
    """A step of a round does not end."""

    def __init__(self) -> None:
        super().__init__(
            f"a round did not end within {END_SECONDS:.0f} s, so its files are not deleted yet. Nothing of it leaves any "
            "more; type the command again, or `fedcxr hospital stop` first"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Withdrawn:
    """What a withdrawal did."""

    study: str
    """Digest, or `EVERY_STUDY`."""
    num_approvals: int
    """Plans whose approval was taken back."""
    num_bytes: int
    """Of finished updates and received weights that were deleted."""


def withdraw(site: SiteConfig, study: str | None, by: str) -> Withdrawn:
    """Leave a study, or all that there are and will be.

    Args:
        site: This hospital.
        study: The study's digest, or its plan's, or the beginning of it, or its name; None for all.
        by: Who decided it.

    Raises:
        NoSuchStudy: the words name no study, or several.
        StillTraining: everything is done but deleting what a step of training holds.
    """
    digest = EVERY_STUDY if study is None else find_study(site.state_path, study)
    left = order(by)
    change_orders(site.state_path, lambda before: _leave(before, digest, left))
    taken_back = take_back(site.state_path, None if study is None else digest)
    return Withdrawn(
        study=digest,
        num_approvals=len(taken_back),
        num_bytes=sum(map(_forget, _folders(site.state_path, digest))),
    )


def rejoin(site: SiteConfig) -> None:
    """Take part in studies again, as soon as a person approves their plans anew."""
    change_orders(site.state_path, lambda before: replace(before, withdrawn={}))


def find_study(state_path: Path, words: str) -> str:
    """The digest of the study that somebody means.

    Raises:
        NoSuchStudy: there is none, or more than one.
    """
    plans = kept_plans(state_path)
    known = dict.fromkeys(_digests_on_disk(state_path), "")
    known |= {kept.plan.study_digest: kept.plan.study.name for kept in plans}
    found = {digest for digest, name in known.items() if digest.startswith(words) or name == words}
    found |= {kept.plan.study_digest for kept in plans if kept.digest.startswith(words)}
    if len(found) != 1 or not words:
        raise NoSuchStudy(words, known)
    return found.pop()


def _leave(before: Orders, digest: str, left: Order) -> Orders:
    withdrawn = {**before.withdrawn, digest: left}
    return replace(before, withdrawn=withdrawn, num_cuts=before.num_cuts + 1)


def _forget(folder: Path) -> int:
    """Delete what is kept of a study, once nobody works in its folder; how many bytes that were."""
    with contextlib.ExitStack() as stack:
        try:
            for name in ("lock", "delivery.lock"):
                stack.enter_context(hold_lock(folder / name, patience_seconds=END_SECONDS))
        except AlreadyRunning as err:
            raise StillTraining from err
        num_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name not in KEPT:
                path.unlink()
    return num_bytes


def _folders(state_path: Path, digest: str) -> list[Path]:
    pattern = "*" if digest == EVERY_STUDY else digest[:SHOWN_DIGITS]
    return sorted((state_path / "studies").glob(pattern))


def _digests_on_disk(state_path: Path) -> Iterator[str]:
    """Studies of which a finished update lies here."""
    for path in (state_path / "studies").glob(f"*/round-*/{UPDATE}"):
        yield str(json.loads(path.read_text())["update"]["study_digest"])
