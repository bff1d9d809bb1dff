"""The hospital's numbers for Prometheus: its node, its part in the rounds, its privacy ledger, its cache, room."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client.core import Metric

from client.cache.layout import CacheUnusable, cache_path, current_version
from client.config import SiteConfig
from client.evidence.log import Entry, LogUnreadable, entries
from client.node_status import NodeStatus, read_status
from client.privacy_policy import load_policy
from client.supernode import STATUS_NAME, NodeState, node_state
from federation.metrics import certificate_metrics, counter, gauge, machine_metrics, number
from privacy.ledger.book import LedgerUnreadable
from privacy.ledger.chain import ChainDamaged
from privacy.ledger.verification import read_statement
from privacy.ledger.witness import ReceiptInvalid


@dataclass(frozen=True, kw_only=True, slots=True)
class HospitalMetrics:
    """One hospital, read from its state folder."""

    site: SiteConfig
    pid: int | None = None
    """The service, if its memory is to be told."""

    def collect(self) -> Iterator[Metric]:
        """Look once."""
        yield from _node(self.site)
        yield from machine_metrics(self.site.state_path, pid=self.pid)
        yield certificate_metrics({"coordinator_authority": self.site.ca_path})
        yield from _evidence(self.site)
        yield from _ledger(self.site)
        yield from _cache(self.site)


def _node(site: SiteConfig) -> Iterator[Metric]:
    state = node_state(site.state_path)
    yield number("hospital_up", "1 while the node runs.", float(state is not NodeState.STOPPED))
    status = read_status(site.state_path / STATUS_NAME) if state is not NodeState.STOPPED else None
    yield gauge(
        "node_status",
        "1 for what the node last learned about its place; all 0 while it does not run.",
        {(str(each),): float(each is status) for each in NodeStatus},
        ("status",),
    )


def _evidence(site: SiteConfig) -> Iterator[Metric]:
    log: tuple[Entry, ...] = ()
    sound = 1.0
    try:
        log = entries(site.state_path)
    except (ChainDamaged, LogUnreadable):
        sound = 0.0
    yield number("evidence_readable", "1 while the audit log is whole.", sound)
    counts: Counter[tuple[str, ...]] = Counter((str(entry.event),) for entry in log)
    yield counter("events", "Entries of the audit log.", counts, ("event",))
    last: dict[tuple[str, ...], float] = {
        (str(entry.event),): float(entry.seconds) for entry in log
    }
    what = "When an event was last noted."
    yield gauge("event_timestamp_seconds", what, last, ("event",))


def _ledger(site: SiteConfig) -> Iterator[Metric]:
    if site.privacy_path is None:
        return
    policy, sound = load_policy(site.privacy_path), 1.0
    try:
        book = read_statement(policy.ledger_path).book
    except (ChainDamaged, LedgerUnreadable, ReceiptInvalid):
        book, sound = None, 0.0
    yield number("ledger_readable", "1 while the privacy ledger is whole.", sound)
    if not sound:
        return
    spent = book.spent if book else 0.0
    cap = min(book.cap, policy.max_epsilon) if book else policy.max_epsilon
    yield number("epsilon_spent", "Of everything that was ever released of the data set.", spent)
    yield number("epsilon_cap", "That must not be passed.", cap)


def _cache(site: SiteConfig) -> Iterator[Metric]:
    with contextlib.suppress(CacheUnusable, OSError):
        manifest = current_version(cache_path(site)).manifest
        yield number("records_usable", "Radiographs that can be trained on.", manifest.num_records)
