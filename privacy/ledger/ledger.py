"""One data set's ledger, for life: nothing is computed before it is charged, nothing leaves before it is settled.

    reserve  ->  first gradient, last gradient, finished update on the disk  ->  settle  ->  send

A process that dies leaves a reservation, which stays charged. The same round is then trained again under the same
reservation: nothing of the first attempt has left, since it was not settled. What is settled can be sent as often as
it is asked for, but never made again, so that each charge pays for one release.
"""

import math
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from privacy.accounting.epsilon import ADJACENCY
from privacy.accounting.phase import Phase
from privacy.ledger.book import FORMAT, Book, Cost, after_record, check_same, cost_fields, read_book
from privacy.ledger.chain import Head, Record
from privacy.ledger.chain_writer import PATIENCE_SECONDS, ChainWriter, open_chain
from privacy.ledger.receipts import keep_receipt, read_receipts
from privacy.ledger.witness import Receipt, ReceiptInvalid, check_on_chain, check_signature


class BudgetExhausted(RuntimeError):
    """What was asked for would pass the cap; nothing was charged and nothing may be computed."""

    def __init__(self, *, spent: float, projected: float, cap: float, delta: float) -> None:
        super().__init__(
            f"privacy budget exhausted: epsilon is {spent:.2f}, this would make it {projected:.2f}, and the hospital's cap "
            f"is {cap:.2f} (delta {delta:g}, for {ADJACENCY}). This data set takes no further part; the study goes on "
            "without it"
        )
        self.spent, self.projected, self.cap = spent, projected, cap


class AlreadyReleased(RuntimeError):
    """What was paid for has been released; the same again would be a second release for one charge."""

    def __init__(self, key: str) -> None:
        super().__init__(
            f"{key} was already answered: its update is sent again where the hospital still has it, and nothing is "
            "computed for it a second time. The coordinator's operator asks for a new round"
        )


class NotReserved(RuntimeError):
    """Something that was not charged, or not for as much, wants to leave."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__(
            f"{key} {why} in the hospital's ledger: nothing leaves. This is a defect of the program; report it"
        )


def round_key(study_digest: str, round_number: int) -> str:
    """What a ledger calls a round of a study."""
    return f"{study_digest[:12]}/round {round_number:05d}"


class Ledger:
    """An open ledger; `open_ledger` makes it."""

    def __init__(self, path: Path, writer: ChainWriter, book: Book) -> None:
        self._path, self._writer, self.book = path, writer, book

    @property
    def head(self) -> Head:
        """Names the ledger as it stands; it travels with every update."""
        return self._writer.chain.head

    @property
    def cap(self) -> float:
        """Epsilon that is never passed: the lowest that any policy ever set."""
        return self.book.cap

    def spent(self) -> float:
        """Epsilon of everything that was ever charged."""
        return self.book.spent

    def state_of(self, key: str) -> Literal["reserved", "settled"] | None:
        """How far something has come; None: it was never charged."""
        charge = self.book.charges.get(key)
        if charge is None:
            return None
        return "reserved" if charge.released is None else "settled"

    def reserve(self, key: str, phase: Phase, *, study_digest: str) -> float:
        """Charge steps before the first gradient; under an open reservation for the same, nothing is added.

        Returns:
            Epsilon of everything charged, this included.

        Raises:
            BudgetExhausted: it would pass the cap.
            AlreadyReleased: it was settled.
            NotReserved: it was reserved for other steps.
        """
        return self._charge(key, phase, study_digest)

    def charge(self, key: str, epsilon: float, *, study_digest: str = "") -> float:
        """Charge a release that is epsilon-differentially private without a delta, such as counts; else as `reserve`."""
        if not 0 < epsilon < math.inf:
            raise ValueError(f"epsilon {epsilon} must be above 0 and finite")
        return self._charge(key, float(epsilon), study_digest)

    def settle(self, key: str, *, num_steps: int, released: str) -> Head:
        """Say that what was computed is finished and may leave; asked again for the same, nothing is added.

        What was reserved stays charged in full, also if fewer steps were made.

        Args:
            key: What was reserved.
            num_steps: Steps that were made; 0 for a charge without steps.
            released: SHA-256 of what leaves, in hex. Only this may ever leave.

        Returns:
            The head to send along.

        Raises:
            AlreadyReleased: it was settled for something else.
            NotReserved: it was not charged, or for fewer steps.
        """
        charge = self.book.charges.get(key)
        if charge is None:
            raise NotReserved(key, "is not charged")
        if num_steps > (charge.cost.num_steps if isinstance(charge.cost, Phase) else 0):
            raise NotReserved(key, "is charged for fewer steps than were made")
        if charge.released not in {None, released}:
            raise AlreadyReleased(key)
        if charge.released is None:
            self._append(
                {"kind": "settle", "key": key, "num_steps": num_steps, "released": released}
            )
        return self.head

    def keep(self, receipt: Receipt, key: Ed25519PublicKey, *, site_name: str) -> None:
        """Take a witness's receipt, keep it beside the ledger, and check the ledger against it.

        A receipt that this ledger fails is kept too: it is what the data-protection officer has to see, and nothing
        may be charged until the ledger holds what was witnessed.

        Raises:
            ReceiptInvalid: the witness did not sign it, or it is another hospital's.
            LedgerRolledBack: this ledger does not hold the head that was witnessed; nothing may be trained.
        """
        if receipt.site_name != site_name:
            raise ReceiptInvalid("is another hospital's")
        check_signature(receipt, key)
        keep_receipt(self._path, receipt, key)
        check_on_chain(self._writer.chain, [receipt], self._path)

    def lower_cap(self, cap: float) -> None:
        """Have the lower of two caps hold from now on; a higher one changes nothing."""
        if cap < self.cap:
            self._append({"kind": "cap", "cap": cap})

    def _charge(self, key: str, cost: Cost, study_digest: str) -> float:
        charge = self.book.charges.get(key)
        if charge is not None and charge.released is not None:
            raise AlreadyReleased(key)
        if charge is not None and charge.cost != cost:
            raise NotReserved(key, "is charged for something else")
        spent = self.spent()
        projected = self.book.spent_with(cost) if charge is None else spent
        if not projected <= self.cap:
            raise BudgetExhausted(
                spent=spent, projected=projected, cap=self.cap, delta=self.book.delta
            )
        if charge is None:
            what = {"key": key, "study": study_digest, "spent": projected}
            self._append(cost_fields(cost) | what)
        return projected

    def _append(self, fields: Record) -> None:
        record = {**fields, "time": int(time.time())}
        book = after_record(self.book, record)
        self._writer.append(record)
        self.book = book


@contextmanager
def open_ledger(
    path: Path,
    *,
    data_set: str,
    delta: float,
    cap: float,
    patience_seconds: float = PATIENCE_SECONDS,
) -> Iterator[Ledger]:
    """Be the only one who charges a data set; the ledger is begun if there is none.

    Args:
        path: The file; receipts are kept beside it.
        data_set: Whose ledger it is; fixed when it is begun.
        delta: Of (epsilon, delta), above 0 and below 1; fixed when it is begun.
        cap: Epsilon that must not be passed. A lower one than the ledger's lowers it for ever, a higher one does nothing.
        patience_seconds: How long to wait for another process that has it open.

    Raises:
        ChainInUse: another process has it open.
        ChainDamaged: it is not as it was written.
        LedgerRolledBack: it is older than a receipt that is kept beside it.
        OtherLedger: it was begun for another data set or delta.
        LedgerUnreadable: a newer release wrote it.
    """
    with open_chain(path, patience_seconds=patience_seconds) as writer:
        check_on_chain(writer.chain, [kept.receipt for kept in read_receipts(path)], path)
        book = read_book(writer.chain, path)
        if book is None:
            record = _opening(data_set, delta, cap)
            book = after_record(None, record)
            writer.append(record)
        ledger = Ledger(path, writer, book)
        check_same(path, book, data_set=data_set, delta=delta)
        ledger.lower_cap(cap)
        yield ledger


def _opening(data_set: str, delta: float, cap: float) -> Record:
    """The first record; its random part makes every ledger's heads its own."""
    return {
        "kind": "open",
        "format": FORMAT,
        "ledger": secrets.token_hex(16),
        "data_set": data_set,
        "delta": delta,
        "cap": cap,
        "adjacency": ADJACENCY,
        "time": int(time.time()),
    }
