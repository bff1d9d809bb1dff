"""The hospital's log of everything that matters: who did what, when, under which plan; it can only grow.

A file of the same kind as the privacy ledger: every line vouches for all lines before it, is on the disk when `note`
returns, and is whole or not there if the process is killed. What must not happen unrecorded is noted before it is
done; what protects the hospital (a stop, a pause) is done before it is noted, so that a full disk cannot hinder it.
"""

import getpass
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from privacy.ledger.chain import Chain, ChainDamaged, Head, Record, read_chain
from privacy.ledger.chain_writer import open_chain

FOLDER, LOG = "evidence", "log.jsonl"
PATIENCE_SECONDS = 20.0
MAX_LETTERS = 300
"""Of an actor, or of a fact."""
MAX_FACTS = 20
COORDINATOR, PROGRAM = "coordinator", "program"
"""Actors that are no people: the coordinator that asked, and this program by itself."""

Fact = str | int | float | bool
Facts = Mapping[str, Fact]
_FACT_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_PLAN = re.compile(r"[0-9a-f]{64}|")


class Event(StrEnum):
    """Everything that is noted, and nothing else."""

    JOINED = "joined"
    RENEWED = "renewed"
    AUTHORITY_FOLLOWED = "authority-followed"
    """The coordinator's next authority is believed: the one before vouches for it."""
    PLAN_ARRIVED = "plan-arrived"
    PLAN_APPROVED = "plan-approved"
    PLAN_REFUSED = "plan-refused"
    ROUND_ASKED = "round-asked"
    ROUND_REFUSED = "round-refused"
    CHANGE_MADE = "change-made"
    CHANGE_LEFT = "change-left"
    """Noted before the first byte of a change is handed on; it need not have arrived."""
    PAUSED = "paused"
    RESUMED = "resumed"
    STOPPED = "stopped"
    WITHDRAWN = "withdrawn"
    NODE_STARTED = "node-started"
    NODE_STOPPED = "node-stopped"
    POLICY_CHANGED = "policy-changed"
    INGESTED = "ingested"
    WITNESS_REFUSED = "witness-refused"
    """The coordinator sent a witness of this log that is none."""
    LOG_REPLACED = "log-replaced"
    """The coordinator witnessed a state that this log never had."""
    LOSS_ACCEPTED = "loss-accepted"
    """A named person answers for one such state."""


class LogUnreadable(RuntimeError):
    """A sound chain whose records are not those of a log of this release."""

    def __init__(self, path: Path, number: int) -> None:
        super().__init__(
            f"entry {number} of {path} means nothing to this program: a newer release wrote it, or it is no log. "
            "The hospital's IT installs the release that wrote it"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One thing that happened."""

    number: int
    """From 1."""
    seconds: int
    """When, in seconds since 1970, UTC. Nothing is decided by it."""
    event: Event
    actor: str
    """Who: a person's name, the account that typed a command, ``coordinator`` or ``program``."""
    plan: str = ""
    """Digest of the plan that it was done under; empty for none."""
    facts: Facts = field(default_factory=dict)
    digest: str
    """SHA-256 of this entry and of all before it."""


def log_path(state_path: Path) -> Path:
    """Where a hospital's log is."""
    return state_path / FOLDER / LOG


def note(
    state_path: Path, event: str, *, actor: str, plan: str = "", facts: Facts | None = None
) -> None:
    """Add an entry; it is on the disk when this returns. Any process may, several wait for each other.

    Args:
        state_path: the hospital's state folder.
        event: one of `Event`.
        actor: who did it; `account` for whoever typed a command.
        plan: digest of the plan that it was done under; empty for none.
        facts: a few plain values; never anything of a patient, a file's name or a header.

    Raises:
        ValueError: the event is not on the list, or the facts are not plain and few.
        ChainDamaged: the log is not as it was written; nothing may be done that it would have to record.
        ChainInUse: another process keeps it for very long.
        OSError: the disk did not take it.
    """
    record = _record(event, actor, plan, facts or {})
    with open_chain(log_path(state_path), patience_seconds=PATIENCE_SECONDS) as writer:
        writer.append(record)


def note_news(
    state_path: Path, event: str, *, actor: str, plan: str = "", facts: Facts | None = None
) -> bool:
    """Add an entry unless the last one of its event said the same: for what is asked again and again.

    Returns:
        Whether it was added. Arguments and errors are those of `note`.
    """
    record, path = _record(event, actor, plan, facts or {}), log_path(state_path)
    with open_chain(path, patience_seconds=PATIENCE_SECONDS) as writer:
        said = (each for each in reversed(writer.chain.records) if each.get("event") == event)
        if _without_time(next(said, {})) == _without_time(record):
            return False
        writer.append(record)
    return True


def entries(state_path: Path) -> tuple[Entry, ...]:
    """Everything that was noted, oldest first, also while another process writes; a missing log says nothing.

    Raises:
        ChainDamaged: the log is not as it was written.
        LogUnreadable: a newer release wrote it.
    """
    path = log_path(state_path)
    chain = read_log(state_path)
    pairs = zip(chain.records, chain.digests, strict=True)
    return tuple(_entry(path, n, record, digest) for n, (record, digest) in enumerate(pairs, 1))


def read_log(state_path: Path) -> Chain:
    """The log as a chain, to look for a head in it.

    Raises:
        ChainDamaged: the log is not as it was written.
    """
    path = log_path(state_path)
    return read_chain(path) if path.exists() else Chain()


def head(state_path: Path) -> Head:
    """Names the log as it is now.

    Raises:
        ChainDamaged: the log is not as it was written.
    """
    return read_log(state_path).head


def settled_head(state_path: Path) -> Head:
    """Names the log as it is on the disk for certain: what is told to others must outlive a power cut.

    Raises:
        ChainDamaged, ChainInUse, OSError: as for `note`.
    """
    with open_chain(log_path(state_path), patience_seconds=PATIENCE_SECONDS) as writer:
        return writer.chain.head


def verify(state_path: Path) -> tuple[str, ...]:
    """Everything that is wrong with the log itself, a sentence each; `evidence.check` also looks at the receipts."""
    try:
        entries(state_path)
    except (ChainDamaged, LogUnreadable) as err:
        return (str(err),)
    return ()


def account() -> str:
    """The account of whoever runs this, for an actor."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "unnamed account"


def _record(event: str, actor: str, plan: str, facts: Facts) -> Record:
    """An entry as it is written."""
    if event not in set(Event):
        raise ValueError(f"{event} is none of the events that are noted")
    if not _is_plain(actor) or not actor:
        raise ValueError("an entry of the log needs an actor, in one short line")
    if not _PLAN.fullmatch(plan):
        raise ValueError("an entry of the log names its plan by 64 hexadecimal digits")
    if len(facts) > MAX_FACTS or not all(map(_FACT_NAME.fullmatch, facts)):
        raise ValueError("an entry of the log has few facts, with plain names")
    if not all(_is_plain(value) for value in facts.values()):
        raise ValueError("a fact in the log is a number, yes or no, or one short line")
    return {
        "event": str(event),
        "actor": actor,
        "plan": plan,
        "facts": dict(facts),
        "time": int(time.time()),
    }


def _is_plain(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_LETTERS and value.isprintable()
    return isinstance(value, int | float)


def _without_time(record: Record) -> Record:
    return {name: value for name, value in record.items() if name != "time"}


def _entry(path: Path, number: int, record: Record, digest: str) -> Entry:
    """A record as an entry; nothing of it is believed."""
    event, actor, plan = record.get("event"), record.get("actor"), record.get("plan")
    facts, seconds = record.get("facts"), record.get("time")
    if not (isinstance(actor, str) and isinstance(plan, str) and isinstance(seconds, int)):
        raise LogUnreadable(path, number)
    if event not in set(Event) or not isinstance(facts, dict):
        raise LogUnreadable(path, number)
    return Entry(
        number=number,
        seconds=seconds,
        event=Event(str(event)),
        actor=actor,
        plan=plan,
        facts=facts,
        digest=digest,
    )
