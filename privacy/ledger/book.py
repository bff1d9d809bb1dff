"""What the records of a ledger say: who owns it, what was spent on what, and what is left.

The first record is ``open``: the data set, delta, the cap and what neighbours are. ``cap`` lowers the cap. ``reserve`` charges
steps and ``charge`` a release that is epsilon-differentially private without a delta; ``settle`` says that what was
charged is final and may leave. Nothing takes a charge back, so what is spent never falls.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from privacy.accounting.epsilon import ADJACENCY, epsilon
from privacy.accounting.phase import Phase
from privacy.ledger.chain import Chain, Record

FORMAT = 1
Cost = Phase | float
"""Steps, or the epsilon of a release that needs no delta."""


class LedgerUnreadable(RuntimeError):
    """A sound chain whose records are not those of a ledger of this release."""

    def __init__(self, path: Path, number: int) -> None:
        super().__init__(
            f"record {number} of {path} means nothing to this program: a newer release wrote it, or it is no ledger. "
            "The hospital's IT installs the release that wrote it, or corrects ledger_path in the privacy policy"
        )


class OtherLedger(RuntimeError):
    """A ledger that was opened for something else than the policy says."""

    def __init__(self, path: Path, *, what: str, there: object, asked: object) -> None:
        super().__init__(
            f"{path} was opened with {what} {there}, which never changes, and the privacy policy says {asked}: the "
            "data-protection officer corrects the policy"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Charge:
    """One thing that was paid for."""

    key: str
    """Names it for ever: a study's digest and a round, or what else was released."""
    study_digest: str
    """Empty where no study asked for it."""
    cost: Cost
    spent_after: float
    """Epsilon of everything up to and with this, as it was when it was charged."""
    seconds: int
    """When, in seconds since 1970, UTC. Nothing is decided by it."""
    released: str | None = None
    """SHA-256 of what may leave for it, in hex; None while it is reserved alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Book:
    """The state of a ledger."""

    data_set: str
    delta: float
    adjacency: str
    cap: float
    """Epsilon that must not be passed; it only falls."""
    charges: Mapping[str, Charge] = field(default_factory=dict)
    """By key, in the order in which they were charged."""

    @property
    def spent(self) -> float:
        """Epsilon of everything ever charged, at ``delta``."""
        return self.spent_with()

    def spent_with(self, *more: Cost) -> float:
        """Epsilon of everything ever charged and of more; infinite where nobody can tell.

        Steps are composed together; epsilons without a delta are added, which is their composition.
        """
        costs = [*(charge.cost for charge in self.charges.values()), *more]
        phases = [cost for cost in costs if isinstance(cost, Phase)]
        plain = math.fsum(cost for cost in costs if not isinstance(cost, Phase))
        return (epsilon(phases, self.delta).value if phases else 0.0) + plain


def read_book(chain: Chain, path: Path) -> Book | None:
    """What a chain's records say; None for a chain without any.

    Raises:
        LedgerUnreadable: they are not those of a ledger of this release.
    """
    book: Book | None = None
    for number, record in enumerate(chain.records, start=1):
        try:
            book = after_record(book, record)
        except (KeyError, TypeError, ValueError) as err:
            raise LedgerUnreadable(path, number) from err
    return book


def after_record(book: Book | None, record: Record) -> Book:
    """The state after one more record.

    Raises:
        ValueError: or KeyError, TypeError: the record cannot stand there.
    """
    kind = record["kind"]
    if book is None:
        return _opened(record)
    if kind == "cap":
        return replace(book, cap=min(book.cap, _positive(record["cap"])))
    if kind in {"reserve", "charge"}:
        return _with_charge(book, _charge(record))
    if kind == "settle":
        return _with_settled(book, record)
    raise ValueError(f"unknown kind {kind}")


def check_same(path: Path, book: Book, *, data_set: str, delta: float) -> None:
    """Make sure that a ledger was begun for this.

    Raises:
        OtherLedger: it was not.
    """
    for what, there, asked in (
        ("data set", book.data_set, data_set),
        ("delta", book.delta, delta),
        ("adjacency", book.adjacency, ADJACENCY),
    ):
        if there != asked:
            raise OtherLedger(path, what=what, there=there, asked=asked)


def cost_fields(cost: Cost) -> dict[str, object]:
    """How a record writes a cost."""
    if not isinstance(cost, Phase):
        return {"kind": "charge", "epsilon": cost}
    return {
        "kind": "reserve",
        "noise_multiplier": cost.noise_multiplier,
        "sample_rate": cost.sample_rate,
        "num_steps": cost.num_steps,
    }


def _opened(record: Record) -> Book:
    if record["kind"] != "open" or record["format"] != FORMAT:
        raise ValueError("the first record does not open a ledger of this format")
    return Book(
        data_set=_text(record["data_set"]),
        delta=_positive(record["delta"]),
        adjacency=_text(record["adjacency"]),
        cap=_positive(record["cap"]),
    )


def _charge(record: Record) -> Charge:
    return Charge(
        key=_text(record["key"]),
        study_digest=_text(record["study"]),
        cost=_cost(record),
        spent_after=float(_number(record["spent"])),
        seconds=int(_number(record["time"])),
    )


def _cost(record: Record) -> Cost:
    if record["kind"] == "charge":
        return _positive(record["epsilon"])
    return Phase(
        noise_multiplier=float(_number(record["noise_multiplier"])),
        sample_rate=float(_number(record["sample_rate"])),
        num_steps=int(_number(record["num_steps"])),
    )


def _with_charge(book: Book, charge: Charge) -> Book:
    if charge.key in book.charges:
        raise ValueError(f"{charge.key} is charged twice")
    return replace(book, charges={**book.charges, charge.key: charge})


def _with_settled(book: Book, record: Record) -> Book:
    charge = book.charges[_text(record["key"])]
    if charge.released is not None:
        raise ValueError(f"{charge.key} is settled twice")
    settled = replace(charge, released=_text(record["released"]))
    return replace(book, charges={**book.charges, charge.key: settled})


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _number(value: object) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("not a number")
    return value


def _positive(value: object) -> float:
    number = float(_number(value))
    if not 0 < number < math.inf:
        raise ValueError(f"{number} is not above 0")
    return number
