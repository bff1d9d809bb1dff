"""What `fedcxr hospital ledger` shows: every charge, what is spent and left, and who witnessed it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from client.config import load_site
from client.privacy_policy import PrivacyPolicy, load_policy
from federation.terminal import emit
from privacy.accounting.epsilon import ADJACENCY
from privacy.accounting.phase import Phase
from privacy.ledger.book import Book, Charge, Cost
from privacy.ledger.receipts import KeptReceipt
from privacy.ledger.verification import Statement, problems_of, read_statement

HEADINGS = ("when (UTC)", "study", "what", "charged", "state", "epsilon after")
Facts = Mapping[str, object]


class NoPolicy(RuntimeError):
    """A hospital without a privacy policy has no ledger."""

    def __init__(self, profile: Path) -> None:
        super().__init__(
            f"{profile} names no privacy policy, so there is no ledger: the data-protection officer writes one, and "
            "the data manager sets privacy_path to it"
        )


def show_ledger(profile: Path, *, verify: bool, as_json: bool) -> bool:
    """Print a hospital's ledger, or with ``verify`` whether it is whole; also while a training writes to it.

    Returns:
        Whether nothing is wrong with it.

    Raises:
        NoPolicy: the profile names no privacy policy.
    """
    policy = _policy_of(profile)
    problems = problems_of(policy.ledger_path, data_set=policy.data_set, delta=policy.delta)
    if verify or problems:
        emit(_verdict(policy, problems), _verdict_text(policy, problems), as_json=as_json)
        return not problems
    statement = read_statement(policy.ledger_path)
    emit(ledger_facts(policy, statement), ledger_text(policy, statement), as_json=as_json)
    return True


def ledger_facts(policy: PrivacyPolicy, statement: Statement) -> Facts:
    """Everything, for a program."""
    book, head = statement.book, statement.chain.head
    spent, cap = _spent_and_cap(policy, book)
    charges = [] if book is None else list(book.charges.values())
    return {
        "ledger": str(policy.ledger_path),
        "data_set": policy.data_set,
        "epsilon": spent,
        **_promise(policy, book),
        "cap": cap,
        "left": max(0.0, cap - spent),
        "policy_cap": policy.max_epsilon,
        "charges": [_charge_facts(charge) for charge in charges],
        "receipts": [_receipt_facts(kept) for kept in statement.receipts],
        "count": head.count,
        "head": head.digest,
        "torn": statement.chain.torn,
    }


def ledger_text(policy: PrivacyPolicy, statement: Statement) -> str:
    """A line per charge and what they come to, for a person."""
    book = statement.book
    charges = [] if book is None else list(book.charges.values())
    table = _table([HEADINGS, *map(_row, charges)]) if charges else ["nothing was ever charged"]
    return "\n".join([*table, "", *_totals(policy, book), *_witnesses(statement)])


def _policy_of(profile: Path) -> PrivacyPolicy:
    path = load_site(profile).privacy_path
    if path is None:
        raise NoPolicy(profile)
    return load_policy(path)


def _verdict(policy: PrivacyPolicy, problems: Sequence[str]) -> Facts:
    return {
        "ledger": str(policy.ledger_path),
        "data_set": policy.data_set,
        "sound": not problems,
        "problems": list(problems),
    }


def _verdict_text(policy: PrivacyPolicy, problems: Sequence[str]) -> str:
    if problems:
        return "\n".join(problems)
    statement = read_statement(policy.ledger_path)
    return (
        f"{policy.data_set}: the ledger is whole, {statement.chain.head.count} records; it holds every head that was "
        f"witnessed, {len(statement.receipts)} receipts"
    )


def _spent_and_cap(policy: PrivacyPolicy, book: Book | None) -> tuple[float, float]:
    """Epsilon spent, and the lower of the ledger's cap and the policy's."""
    if book is None:
        return 0.0, policy.max_epsilon
    return book.spent, min(book.cap, policy.max_epsilon)


def _promise(policy: PrivacyPolicy, book: Book | None) -> dict[str, object]:
    """Without which an epsilon means nothing."""
    if book is None:
        return {"delta": policy.delta, "adjacency": ADJACENCY}
    return {"delta": book.delta, "adjacency": book.adjacency}


def _totals(policy: PrivacyPolicy, book: Book | None) -> list[str]:
    spent, cap = _spent_and_cap(policy, book)
    promise = _promise(policy, book)
    left = max(0.0, cap - spent)
    amounts = f"epsilon {spent:.2f} of at most {cap:.2f}, {left:.2f} is left"
    lines = [
        f"{policy.data_set}: {amounts} (delta {promise['delta']:g}, for {promise['adjacency']})"
    ]
    if book is not None and policy.max_epsilon > book.cap:
        lines.append(
            f"the policy's max_epsilon {policy.max_epsilon:.2f} changes nothing: the ledger's cap of {book.cap:.2f} can "
            "only fall"
        )
    return lines


def _witnesses(statement: Statement) -> list[str]:
    head = statement.chain.head
    lines = [f"head: record {head.count}, {head.digest}"]
    if statement.chain.torn:
        lines.append("its last line is unfinished: somebody writes now, or was killed; no harm")
    if not statement.receipts:
        return [*lines, "receipts: none; no older copy of this ledger would be noticed"]
    last = statement.receipts[-1].receipt
    witnessed = f"the last for record {last.head.count}, signed by {last.witness} on {_moment(last.seconds)}"
    return [*lines, f"receipts: {len(statement.receipts)}, {witnessed}"]


def _row(charge: Charge) -> tuple[str, ...]:
    return (
        _moment(charge.seconds),
        charge.study_digest[:12] or "-",
        charge.key.rpartition("/")[2],
        _cost_text(charge.cost),
        _state(charge),
        f"{charge.spent_after:.2f}",
    )


def _charge_facts(charge: Charge) -> Facts:
    cost = charge.cost
    return {
        "time": charge.seconds,
        "key": charge.key,
        "study_digest": charge.study_digest,
        "phase": _phase_facts(cost) if isinstance(cost, Phase) else None,
        "epsilon_without_delta": None if isinstance(cost, Phase) else cost,
        "state": _state(charge),
        "released": charge.released,
        "epsilon_after": charge.spent_after,
    }


def _phase_facts(phase: Phase) -> Facts:
    return {
        "noise_multiplier": phase.noise_multiplier,
        "sample_rate": phase.sample_rate,
        "num_steps": phase.num_steps,
    }


def _receipt_facts(kept: KeptReceipt) -> Facts:
    receipt = kept.receipt
    return {
        "time": receipt.seconds,
        "witness": receipt.witness,
        "key": kept.key,
        "study_digest": receipt.study_digest,
        "round_number": receipt.round_number,
        "count": receipt.head.count,
        "head": receipt.head.digest,
    }


def _state(charge: Charge) -> str:
    return "reserved" if charge.released is None else "settled"


def _cost_text(cost: Cost) -> str:
    if not isinstance(cost, Phase):
        return f"epsilon {cost:g}, no delta"
    return f"{cost.num_steps} steps, noise {cost.noise_multiplier:g}, rate {cost.sample_rate:g}"


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
