"""Whether a hospital's evidence is sound: the log, every receipt, every signature, and that they fit each other."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from client.evidence import log
from client.evidence.ledger_heads import DATA_SET, missing_heads
from client.evidence.losses import AcceptedLoss, accepted_losses
from client.evidence.receipts import Kept, ReceiptDamaged, kept_receipts, noted
from client.evidence.witness import kept_witnesses, witness_problems
from federation.log_witness import LogWitness, WitnessInvalid
from federation.plan import SHOWN_DIGITS
from privacy.ledger.chain import Chain, ChainDamaged, read_chain


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """What the check of a hospital's evidence found."""

    num_entries: int
    num_receipts: int
    head: str
    """SHA-256 of the log; whoever wrote it down elsewhere can tell a later, shortened log from it."""
    problems: tuple[str, ...]
    """A sentence each; none if all is sound."""
    witnessed: LogWitness | None = None
    """The last that the coordinator saw of the log, as far as it came back; None if nothing did."""
    accepted: tuple[AcceptedLoss, ...] = ()
    """Losses that a named person answers for: no problems any more, and told all the same."""


def check(
    state_path: Path,
    *,
    ledger: Chain | None = None,
    head: str = "",
    authority: bytes | None = None,
) -> Findings:
    """Look at everything and change nothing.

    Args:
        state_path: the hospital's state folder.
        ledger: the privacy ledger, to look up in it what log and receipts say of it; None if it is not looked at.
        head: what the log's head was once, written down elsewhere, or how it began; empty if nobody did.
        authority: the study authority's public key (PEM), whose witnesses are looked for; None if it is not here.
    """
    problems = log.verify(state_path)
    if problems:
        return Findings(num_entries=0, num_receipts=0, head="", problems=problems)
    chain, found = log.read_log(state_path), list[str]()
    receipts: tuple[Kept, ...] = ()
    try:
        receipts = kept_receipts(state_path)
        found += _problems(chain, receipts, noted(state_path), ledger)
    except ReceiptDamaged as err:
        found.append(str(err))
    if ledger is not None and ledger.records:
        data_set = str(ledger.records[0].get(DATA_SET))
        found += missing_heads(log.entries(state_path), ledger, data_set=data_set)
    witnesses, doubts = _witnessed(state_path, chain, authority)
    found += doubts
    if head and not _had(chain, head):
        found.append(_put_back(head))
    return Findings(
        num_entries=chain.head.count,
        num_receipts=len(receipts),
        head=chain.head.digest,
        problems=tuple(found),
        witnessed=witnesses[-1] if witnesses else None,
        accepted=accepted_losses(state_path),
    )


def log_problems(state_path: Path, authority: bytes | None) -> tuple[str, ...]:
    """What is wrong with the log alone, receipts aside: whether it is whole, and the one that was witnessed."""
    problems = log.verify(state_path)
    return problems or _witnessed(state_path, log.read_log(state_path), authority)[1]


def _witnessed(
    state_path: Path, chain: Chain, authority: bytes | None
) -> tuple[tuple[LogWitness, ...], tuple[str, ...]]:
    """Everything that was witnessed of the log, and what it lacks of that."""
    if authority is None:
        return (), ()
    try:
        found = kept_witnesses(state_path, authority)
    except (ChainDamaged, WitnessInvalid) as err:
        return (), (str(err),)
    accepted = {loss.head for loss in accepted_losses(state_path)}
    return found, tuple(witness_problems(chain, found, authority, accepted))


def _had(chain: Chain, head: str) -> bool:
    """Whether a head, of which enough was read out to mean one alone, is one of this log."""
    return len(head) >= SHOWN_DIGITS and any(each.startswith(head) for each in chain.digests)


def _put_back(head: str) -> str:
    return (
        f"this log never had the head {head[:16]} that was written down: an older copy was put back, or it is another "
        "hospital's head; the data manager restores the newest backup"
    )


def readable_ledger(path: Path) -> Chain | None:
    """The privacy ledger, if it can be read; what is wrong with it is the business of `hospital ledger --verify`.

    One that is missing holds nothing, whatever log and receipts say of it.
    """
    try:
        return read_chain(path) if path.exists() else Chain()
    except ChainDamaged:
        return None


def _problems(
    chain: Chain, receipts: tuple[Kept, ...], named: Mapping[str, str], ledger: Chain | None
) -> Iterator[str]:
    found = {kept.digest for kept in receipts}
    for digest in sorted(named.keys() - found):
        yield (
            f"the log says that a change left with receipt {digest[:16]}, and there is no such receipt: the hospital's "
            "IT restores the evidence folder from its newest backup"
        )
    for kept in receipts:
        yield from _problems_of(kept, chain, named, ledger)


def _problems_of(
    kept: Kept, chain: Chain, named: Mapping[str, str], ledger: Chain | None
) -> Iterator[str]:
    name, receipt = kept.path.name, kept.receipt
    if not kept.is_signed():
        yield f"{name} is not what this hospital signed: somebody or a failing disk changed it"
    if not chain.holds(receipt.log):
        yield f"{name} was written when the log had {receipt.log.count} entries, and this log does not hold them"
    key = named.get(kept.digest)
    if key is None and not kept.is_draft:
        yield f"{name} is not in the log: entries were taken away at its end, or the receipt is no receipt of this hospital"
    if key is not None and key != kept.key_digest:
        yield f"{name} is signed with another key than the log says"
    if ledger is not None and receipt.ledger is not None and not ledger.holds(receipt.ledger):
        yield f"{name} was written when the privacy ledger had {receipt.ledger.count} records, and it does not hold them"
