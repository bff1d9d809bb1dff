"""Checks that run side by side, each within its time: a verdict, a sentence, whose job it is, and what to type."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from federation.terminal import explain

logger = logging.getLogger(__name__)

Subject = TypeVar("Subject")
Value = TypeVar("Value")

CHECK_SECONDS = 12.0
"""Time of one check, unless it says otherwise."""
ALL_SECONDS = 28.0
"""Time of all checks together."""


class Verdict(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIPPED = "skipped"


class Job(StrEnum):
    """Who can mend it."""

    NOBODY = ""
    DATA_MANAGER = "the data manager"
    MACHINE = "whoever keeps this machine"
    NETWORK = "the network administrators"
    OFFICER = "the data-protection officer"
    COORDINATOR = "the coordinator's operator"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What one check found."""

    verdict: Verdict
    sentence: str
    job: Job = Job.NOBODY
    next_step: str = ""
    """What that person types or does; empty where nothing is to be done."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Check(Generic[Subject]):
    """One question about the subject."""

    name: str
    """Stable, for programs and for people who talk about it."""
    look: Callable[[Subject], Finding]
    seconds: float = CHECK_SECONDS


@dataclass(frozen=True, kw_only=True, slots=True)
class Examined:
    """A check that was made."""

    name: str
    finding: Finding
    seconds: float


def ok(sentence: str) -> Finding:
    """All is well."""
    return Finding(verdict=Verdict.OK, sentence=sentence)


def skipped(sentence: str) -> Finding:
    """It could not be asked, or need not be."""
    return Finding(verdict=Verdict.SKIPPED, sentence=sentence)


def warn(sentence: str, job: Job, next_step: str) -> Finding:
    """It goes on like this, but somebody should look."""
    return Finding(verdict=Verdict.WARN, sentence=sentence, job=job, next_step=next_step)


def fail(sentence: str, job: Job, next_step: str) -> Finding:
    """It does not go on like this."""
    return Finding(verdict=Verdict.FAIL, sentence=sentence, job=job, next_step=next_step)


def shared(make: Callable[[], Value]) -> Callable[[], Value]:
    """Make something at most once, however many checks ask for it at the same time."""
    lock, made = threading.Lock(), list[Value]()

    def get() -> Value:
        with lock:
            if not made:
                made.append(make())
            return made[0]

    return get


def examine(
    subject: Subject,
    checks: Sequence[Check[Subject]],
    *,
    all_seconds: float = ALL_SECONDS,
) -> list[Examined]:
    """Make all checks at once; one that does not end in time, or breaks, is a finding like any other.

    Args:
        subject: What is looked at.
        checks: In the order of the result.
        all_seconds: When waiting ends, whatever is still under way; nothing of it outlives the process.
    """
    started = time.monotonic()
    found: dict[str, Examined] = {}
    threads = []
    for check in checks:
        thread = threading.Thread(target=_make, args=(subject, check, found), daemon=True)
        thread.start()
        threads.append(thread)
    for check, thread in zip(checks, threads, strict=True):
        ends = started + min(check.seconds, all_seconds)
        thread.join(max(0.0, ends - time.monotonic()))
    seconds = time.monotonic() - started
    return [found.get(check.name) or _too_slow(check, seconds) for check in checks]


def has_failed(examined: Sequence[Examined]) -> bool:
    """Whether anything does not go on like this."""
    return any(each.finding.verdict is Verdict.FAIL for each in examined)


def diagnosis_facts(examined: Sequence[Examined], *, seconds: float) -> Mapping[str, object]:
    """Everything, for a program."""
    return {
        "ok": not has_failed(examined),
        "seconds": round(seconds, 2),
        "counts": {verdict: _counts(examined)[verdict] for verdict in Verdict},
        "checks": [
            {"name": each.name, **asdict(each.finding), "seconds": round(each.seconds, 2)}
            for each in examined
        ],
    }


def diagnosis_text(examined: Sequence[Examined], *, seconds: float) -> str:
    """A line a check; below what is not well, whose job it is and what to do; at the end how many of each."""
    width = max((len(each.name) for each in examined), default=0)
    lines = [line for each in examined for line in _lines(each, width)]
    counts = _counts(examined)
    told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict)
    return "\n".join([*lines, f"{len(examined)} checks in {seconds:.1f} s: {told}"])


def _make(subject: Subject, check: Check[Subject], found: dict[str, Examined]) -> None:
    started = time.monotonic()
    try:
        finding = check.look(subject)
    except Exception as err:  # a broken check must not hide the others
        logger.debug("check %s broke", check.name, exc_info=True)
        finding = _broken(err)
    found[check.name] = Examined(
        name=check.name, finding=finding, seconds=time.monotonic() - started
    )


def _broken(err: Exception) -> Finding:
    """The texts of our own errors were written for people; of others only the kind is told."""
    sentence = explain(err)
    if sentence is not None:
        return fail(sentence, Job.DATA_MANAGER, "mend that, then type the same again")
    return fail(
        f"the check itself broke ({type(err).__name__})",
        Job.DATA_MANAGER,
        "report this line to the makers of the program",
    )


def _too_slow(check: Check[Subject], seconds: float) -> Examined:
    finding = fail(
        f"no answer within {min(seconds, check.seconds):.0f} s",
        Job.MACHINE,
        "see whether a disk, a mount or the network hangs, then type the same again",
    )
    return Examined(name=check.name, finding=finding, seconds=seconds)


def _lines(each: Examined, width: int) -> list[str]:
    finding = each.finding
    shown = finding.verdict.upper() if finding.verdict is Verdict.FAIL else finding.verdict
    first = f"{shown:<8}{each.name:<{width}}  {finding.sentence}"
    if not finding.next_step:
        return [first]
    return [first, f"{'':<{8 + width}}  -> {finding.job}: {finding.next_step}"]


def _counts(examined: Sequence[Examined]) -> Counter[Verdict]:
    return Counter(each.finding.verdict for each in examined)
