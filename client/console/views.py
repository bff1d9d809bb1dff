"""What the hospital's pages say, from what lies on its own disk; counts only, no picture and no header."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from client.cache.layout import CacheMissing, CacheUnusable, cache_path, current_version
from client.config import SiteConfig
from client.control.gate import Closed, gate_of
from client.control.orders import Orders, read_orders
from client.evidence import log
from client.evidence.check import Findings, check, readable_ledger
from client.evidence.receipts import Kept, ReceiptDamaged, kept_receipts
from client.evidence.witness import authority_key
from client.inspection.advice import Advice
from client.node_status import SENTENCES, NodeStatus, read_status
from client.plans.store import KeptPlan, kept_plans
from client.privacy_policy import PrivacyPolicy, load_policy
from client.supernode import STATUS_NAME, NodeState, node_state
from client.tally import Tally
from privacy.ledger.book import Book, LedgerUnreadable
from privacy.ledger.chain import ChainDamaged
from privacy.ledger.verification import Statement, problems_of, read_statement
from privacy.ledger.witness import ReceiptInvalid

Code = TypeVar("Code", bound=StrEnum)
NEARLY_SPENT = 0.9
"""Share of the cap from which somebody should think about the rest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Data:
    """What the last ingest found; without one, why there is nothing."""

    tally: Tally | None
    problem: str = ""

    @property
    def is_missing(self) -> bool:
        """Whether nothing was ever ingested."""
        return self.tally is None and not self.problem


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """The privacy ledger of the hospital's data."""

    policy: PrivacyPolicy
    statement: Statement | None
    """None if it cannot be read."""
    problems: tuple[str, ...]

    @property
    def book(self) -> Book | None:
        """What it says; None before the first record."""
        return self.statement.book if self.statement else None

    @property
    def spent(self) -> float:
        """Epsilon of everything ever released."""
        return self.book.spent if self.book else 0.0

    @property
    def cap(self) -> float:
        """Epsilon that must not be passed."""
        return min(self.book.cap, self.policy.max_epsilon) if self.book else self.policy.max_epsilon


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """What left, and whether the record of it is sound."""

    findings: Findings
    receipts: tuple[Kept, ...]
    """Newest first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """How the hospital's node is."""

    state: NodeState
    sentence: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Today:
    """Everything the first page says."""

    site: SiteConfig
    node: Node
    orders: Orders
    closed: Closed | None
    """Why the hospital takes no part now; None: it does."""
    data: Data
    plans: tuple[KeptPlan, ...]
    evidence: Evidence
    budget: Budget | None
    """None without a privacy policy."""

    @property
    def waiting(self) -> tuple[KeptPlan, ...]:
        """Plans that wait for a person."""
        return waiting_plans(self.plans)

    @property
    def wants(self) -> tuple[tuple[str, str], ...]:
        """What needs a person: a sentence, and the page for it."""
        return tuple(_wants(self))


def look(site: SiteConfig) -> Today:
    """Everything, as it is now."""
    return Today(
        site=site,
        node=node_of(site),
        orders=read_orders(site.state_path),
        closed=gate_of(site).closed(),
        data=data_of(site),
        plans=tuple(kept_plans(site.state_path)),
        evidence=evidence_of(site),
        budget=budget_of(site),
    )


def node_of(site: SiteConfig) -> Node:
    """Whether the node runs, and what the coordinator last answered."""
    state = node_state(site.state_path)
    if state is NodeState.STOPPED:
        return Node(state=state, sentence="the program that takes part is not running")
    status = read_status(site.state_path / STATUS_NAME)
    if status is NodeStatus.REGISTERED:
        return Node(state=state, sentence="connected to the coordinator")
    return Node(state=state, sentence=SENTENCES[status])


def data_of(site: SiteConfig) -> Data:
    """The tally of the cache in use."""
    try:
        return Data(tally=current_version(cache_path(site)).manifest.tally)
    except CacheMissing:
        return Data(tally=None)
    except CacheUnusable as err:
        return Data(tally=None, problem=str(err))


def budget_of(site: SiteConfig) -> Budget | None:
    """The ledger, and everything that is wrong with it; None without a privacy policy."""
    if site.privacy_path is None or not site.privacy_path.exists():
        return None
    policy = load_policy(site.privacy_path)
    problems = problems_of(policy.ledger_path, data_set=policy.data_set, delta=policy.delta)
    return Budget(policy=policy, statement=_statement(policy.ledger_path), problems=problems)


def evidence_of(site: SiteConfig) -> Evidence:
    """Every receipt, and what a check of log, receipts and signatures finds."""
    policy = site.privacy_path
    path = load_policy(policy).ledger_path if policy and policy.exists() else None
    ledger = readable_ledger(path) if path else None
    found = check(site.state_path, ledger=ledger, authority=authority_key(site))
    try:
        receipts = kept_receipts(site.state_path)
    except ReceiptDamaged:  # the check says it
        receipts = ()
    left = tuple(kept for kept in reversed(receipts) if not kept.is_draft)
    return Evidence(findings=found, receipts=left)


def waiting_plans(plans: Sequence[KeptPlan]) -> tuple[KeptPlan, ...]:
    """Plans that nobody has approved, unless a later one of the same study was."""
    newest: dict[str, int] = {}
    for kept in plans:
        if kept.approval is not None:
            digest = kept.plan.study_digest
            newest[digest] = max(newest.get(digest, 0), kept.plan.issued)
    return tuple(
        kept
        for kept in plans
        if kept.approval is None and kept.plan.issued > newest.get(kept.plan.study_digest, -1)
    )


def log_entries(site: SiteConfig, *, before: int, limit: int) -> Sequence[log.Entry]:
    """Entries of the log, newest first, from just before a number; 0 stands for the end.

    Raises:
        ChainDamaged: it is not as it was written.
    """
    entries = log.entries(site.state_path)
    end = min(before - 1, len(entries)) if before else len(entries)
    return entries[max(0, end - limit) : end][::-1]


def charge_name(key: str) -> str:
    """What a charge was for, such as ``round 3``; its key names the study too, and has zeros in front."""
    return re.sub(r"\b0+(?=\d)", "", key.rpartition("/")[2])


def by_count(
    counts: Mapping[Code, int], advice: Mapping[Code, Advice]
) -> list[tuple[Code, int, Advice]]:
    """What occurred with its advice, most frequent first."""
    found = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0].value))
    return [(code, count, advice[code]) for code, count in found]


def _statement(path: Path) -> Statement | None:
    try:
        return read_statement(path)
    except (ChainDamaged, LedgerUnreadable, ReceiptInvalid):  # told as problems of the ledger
        return None


def _wants(today: Today) -> Iterator[tuple[str, str]]:
    for problem in today.evidence.findings.problems:
        yield f"The record of what left is not sound: {problem}", "/left"
    if today.budget is None:
        yield "There is no privacy policy, and without one nothing is trained.", "/ledger"
    else:
        for problem in today.budget.problems:
            yield f"The privacy ledger is not sound: {problem}", "/ledger"
        if today.budget.spent >= NEARLY_SPENT * today.budget.cap:
            yield "The privacy budget is nearly spent.", "/ledger"
    if today.data.tally is None:
        yield today.data.problem or "No radiograph was ever ingested.", "/data"
    for kept in today.waiting:
        yield (
            f"A plan of the study {kept.plan.study.name} waits for approval.",
            f"/plans/{kept.digest}",
        )
