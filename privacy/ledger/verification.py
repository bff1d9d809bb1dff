"""Reading a ledger without touching it: what it says, and everything that is wrong with it."""

from dataclasses import dataclass
from pathlib import Path

from privacy.ledger.book import Book, LedgerUnreadable, OtherLedger, check_same, read_book
from privacy.ledger.chain import Chain, ChainDamaged, read_chain
from privacy.ledger.receipts import KeptReceipt, read_receipts
from privacy.ledger.witness import LedgerRolledBack, ReceiptInvalid, check_on_chain


@dataclass(frozen=True, kw_only=True, slots=True)
class Statement:
    """A ledger at one moment, also while another process writes to it."""

    chain: Chain
    book: Book | None
    """None before the first record."""
    receipts: tuple[KeptReceipt, ...]


def read_statement(path: Path) -> Statement:
    """Everything that a ledger and its receipts say; a ledger that is missing says nothing.

    Receipts are read first: a head that is witnessed meanwhile is in the ledger by then.

    Raises:
        ChainDamaged: the ledger or its receipts are not what was written.
        LedgerUnreadable: a newer release wrote it.
        ReceiptInvalid: something else is kept among the receipts.
    """
    receipts = read_receipts(path)
    chain = read_chain(path) if path.exists() else Chain()
    return Statement(chain=chain, book=read_book(chain, path), receipts=receipts)


def problems_of(path: Path, *, data_set: str, delta: float) -> tuple[str, ...]:
    """Everything that is wrong with the ledger of a data set, a sentence each.

    None: it is whole, it is the one that was begun for this, and it holds all that was witnessed.
    """
    try:
        statement = read_statement(path)
        if statement.book is not None:
            check_same(path, statement.book, data_set=data_set, delta=delta)
    except (ChainDamaged, LedgerUnreadable, OtherLedger, ReceiptInvalid) as err:
        return (str(err),)
    problems = []
    for kept in statement.receipts:
        try:
            kept.check()
            check_on_chain(statement.chain, [kept.receipt], path)
        except (ReceiptInvalid, LedgerRolledBack) as err:
            problems.append(str(err))
    return tuple(problems)
