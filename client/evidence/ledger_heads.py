"""Where the privacy ledger stood whenever a change left, in the hospital's log, so that an older ledger beside it is found.

The coordinator's receipts find that too, but only with its next instruction; this needs nobody else, and comes first.
"""

from collections.abc import Iterable, Iterator

from client.evidence.log import Entry, Event, Facts
from privacy.ledger.chain import Chain, Head

DATA_SET, RECORDS, HEAD = "data_set", "ledger_records", "ledger_head"


def ledger_facts(chain: Chain) -> Facts:
    """What the log says of a ledger; nothing of one without a record."""
    if not chain.records:
        return {}
    return {
        DATA_SET: str(chain.records[0].get(DATA_SET)),
        RECORDS: chain.head.count,
        HEAD: chain.head.digest,
    }


def missing_heads(found: Iterable[Entry], chain: Chain, *, data_set: str) -> Iterator[str]:
    """What a data set's ledger lacks of everything that the log says of it, a sentence each.

    Args:
        found: All of the log.
        chain: The ledger as it is now.
        data_set: Whose it is; what the log says of other ones is no matter.
    """
    for entry in found:
        head = _head_in(entry, data_set)
        if head is not None and not chain.holds(head):
            yield (
                f"entry {entry.number} of the log was written when the privacy ledger had {head.count} records, and it does "
                f"not hold them ({chain.head.count} are there): an older copy was put back. The data-protection officer "
                "restores the newest copy of the ledger"
            )


def _head_in(entry: Entry, data_set: str) -> Head | None:
    if entry.event != Event.CHANGE_LEFT or entry.facts.get(DATA_SET) != data_set:
        return None
    count, digest = entry.facts.get(RECORDS), entry.facts.get(HEAD)
    if not isinstance(count, int) or not isinstance(digest, str):
        return None
    return Head(count=count, digest=digest)
