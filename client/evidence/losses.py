"""Losses of the log that a named person answers for: each is an entry of the log itself, covers one witnessed head, and is told for ever.

After a restore from an older backup the log lacks what the coordinator witnessed. Nobody can bring that back; somebody
can say so with a name. Whoever cuts the log and accepts that himself has only put a name and an account beside it: the
witness stays where it is, here and at the coordinator, and a log that is cut once more loses the acceptance as well.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from client.evidence import log
from client.evidence.log import Entry, Event, account, note
from client.evidence.witness import genuine_witnesses, kept_witnesses, lost_witnesses
from federation.log_witness import LogWitness
from privacy.ledger.chain import Chain, Head

MAX_NAME = 100
"""Letters."""


class NobodyAnswers(ValueError):
    """An acceptance without a person or a reason."""

    def __init__(self) -> None:
        super().__init__(
            "a loss is accepted by a person who answers for it: the data-protection officer types --name "
            f'"Dr ..." (up to {MAX_NAME} printable letters) and --reason "..." (up to {log.MAX_LETTERS})'
        )


class NoLoss(RuntimeError):
    """Nothing is missing that was witnessed."""

    def __init__(self) -> None:
        super().__init__(
            "there is no loss to accept: the log holds everything that the coordinator witnessed of it, as far as that "
            "came back, or its losses are accepted. `fedcxr hospital audit verify` says what else is wrong; the head "
            "of a last answer comes back with the next instruction"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class AcceptedLoss:
    """What one entry of the log says of one witnessed head that the log does not hold."""

    number: int
    """Of the entry that says it."""
    seconds: int
    """When, in seconds since 1970, UTC."""
    name: str
    """Who answers for it."""
    account: str
    """That typed it."""
    head: Head
    """What was witnessed, and is gone."""
    kept: int
    """The last entry before that which was witnessed too and is still there; 0 for none."""
    reason: str

    @property
    def sentence(self) -> str:
        """All of it, for a person."""
        when = datetime.fromtimestamp(self.seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
        return (
            f"accepted loss: of entries {self.kept + 1} to {self.head.count} that the coordinator witnessed (head "
            f"{self.head.digest[:16]}) some or all are gone; {self.name} (account {self.account}) accepted that on {when} "
            f"in entry {self.number}: {self.reason}"
        )


def accept_losses(
    state_path: Path, *, authority: bytes, name: str, reason: str
) -> tuple[AcceptedLoss, ...]:
    """Note for every witnessed head that is missing now that a person accepts it, an entry each.

    A process that is killed in between has accepted some of them; the others are still a fault, and can be accepted.

    Args:
        state_path: The hospital's state folder.
        authority: The study authority's public key (PEM), whose witnesses are looked for.
        name: Of the person who answers for it.
        reason: Why it is accepted; never anything of a patient.

    Returns:
        What was accepted now.

    Raises:
        NobodyAnswers: name or reason cannot be one.
        NoLoss: nothing is missing.
        ChainDamaged: the log, or what was witnessed, is not as it was written: that is no loss, and is not accepted.
        LogUnreadable: a newer release wrote the log.
    """
    name, reason = name.strip(), reason.strip()
    if not (_is_said(name, MAX_NAME) and _is_said(reason, log.MAX_LETTERS)) or _is_machine(name):
        raise NobodyAnswers
    before = accepted_losses(state_path)
    missing = _missing(state_path, authority, before)
    if not missing:
        raise NoLoss
    for head, kept in missing.items():
        facts: log.Facts = {
            "head": head.digest,
            "entries": head.count,
            "kept": kept,
            "reason": reason,
            "account": account(),
        }
        note(state_path, Event.LOSS_ACCEPTED, actor=name, facts=facts)
    return accepted_losses(state_path)[len(before) :]


def accepted_losses(state_path: Path) -> tuple[AcceptedLoss, ...]:
    """Every loss that the log says somebody accepted, oldest first.

    Raises:
        ChainDamaged: the log is not as it was written.
        LogUnreadable: a newer release wrote it.
    """
    return tuple(_accepted_in(log.entries(state_path)))


def _missing(
    state_path: Path, authority: bytes, accepted: Iterable[AcceptedLoss]
) -> dict[Head, int]:
    """Every witnessed head that is missing and not accepted, and the last witnessed entry before it that is there."""
    chain = log.read_log(state_path)
    genuine = genuine_witnesses(kept_witnesses(state_path, authority), authority)
    covered = {loss.head for loss in accepted}
    lost = lost_witnesses(chain, genuine, covered)
    return {each.head: _kept_before(each.head, chain, genuine) for each in lost}


def _kept_before(head: Head, chain: Chain, found: Iterable[LogWitness]) -> int:
    held = (each.count for each in found if each.count < head.count and chain.holds(each.head))
    return max(held, default=0)


def _accepted_in(entries: Iterable[Entry]) -> Iterator[AcceptedLoss]:
    """What does not name a head accepts nothing."""
    for entry in entries:
        digest, count = entry.facts.get("head"), entry.facts.get("entries")
        kept = entry.facts.get("kept")
        if entry.event is not Event.LOSS_ACCEPTED or not isinstance(digest, str):
            continue
        if not isinstance(count, int) or not isinstance(kept, int):
            continue
        yield AcceptedLoss(
            number=entry.number,
            seconds=entry.seconds,
            name=entry.actor,
            account=str(entry.facts.get("account", "")),
            head=Head(count=count, digest=digest),
            kept=kept,
            reason=str(entry.facts.get("reason", "")),
        )


def _is_said(text: str, max_letters: int) -> bool:
    return 0 < len(text) <= max_letters and text.isprintable()


def _is_machine(name: str) -> bool:
    """Whether an entry by this name would read as one that no person made."""
    return name.lower() in {log.COORDINATOR, log.PROGRAM}
