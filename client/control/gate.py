"""Whether anything may leave this hospital now: asked before a round, in the middle of it, and at the last door."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from client.config import SiteConfig
from client.control.limits import limits_in_force
from client.control.orders import EVERY_STUDY, read_orders
from client.control.quiet_hours import QuietHours, are_quiet
from client.refused import NotTaken
from federation.messages import Refusal, RefusalCode


@dataclass(frozen=True, kw_only=True, slots=True)
class Closed:
    """Why nothing leaves; the coordinator hears no names and no times."""

    code: RefusalCode
    reason: str
    sentence: str
    """For the hospital's own people, with what to type."""


STOPPED = Closed(
    code=RefusalCode.PAUSED,
    reason="the hospital's people have stopped it",
    sentence="stopped by its people: type `fedcxr hospital resume` to let it take part again",
)
PAUSED = Closed(
    code=RefusalCode.PAUSED,
    reason="the hospital's people have paused it",
    sentence="paused by its people: type `fedcxr hospital resume` to let it go on",
)
QUIET = Closed(
    code=RefusalCode.PAUSED,
    reason="the hospital takes no part at this hour",
    sentence="quiet hours: it goes on by itself when they are over",
)
CUT = Closed(
    code=RefusalCode.PAUSED,
    reason="the hospital cut the line for a moment",
    sentence="cut, as the hospital withdrew from a study; what belongs to others is asked for again",
)
WITHDRAWN = Closed(
    code=RefusalCode.WITHDRAWN,
    reason="the hospital has withdrawn from the study",
    sentence="withdrawn from every study: type `fedcxr hospital rejoin` to take part again",
)
UNREADABLE = Closed(
    code=RefusalCode.PAUSED,
    reason="the hospital's people have stopped it",
    sentence=(
        "stopped, as control/orders.json in the state folder cannot be read: its data manager types `fedcxr hospital "
        "resume`, and `fedcxr hospital withdraw` for studies it had left"
    ),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """The hospital's orders and hours, read anew at every question; a question takes microseconds."""

    state_path: Path
    quiet_hours: Sequence[QuietHours] = ()
    """Where no node runs; a running one keeps to what its profile says now."""
    num_cuts: int | None = None
    """For what must not outlast a withdrawal, from whichever study: how many there had been when it began."""

    def closed(self, study_digest: str = "") -> Closed | None:
        """Why nothing of a study may leave now; None if it may."""
        orders = read_orders(self.state_path)
        if orders.unreadable:
            return UNREADABLE
        if orders.withdrawn_from(study_digest or EVERY_STUDY):
            return WITHDRAWN
        if orders.stopped is not None:
            return STOPPED
        if orders.paused is not None:
            return PAUSED
        if self.num_cuts is not None and self.num_cuts != orders.num_cuts:
            return CUT
        limits = limits_in_force(self.state_path)
        return QUIET if are_quiet(limits.quiet if limits else self.quiet_hours) else None

    def require_open(self, study_digest: str = "") -> None:
        """Go on only while the hospital takes part.

        Raises:
            NotTaken: it does not, for now or for good.
        """
        closed = self.closed(study_digest)
        if closed is not None:
            raise NotTaken(closed.code, closed.reason)


def why_closed(site: SiteConfig, study_digest: str) -> Refusal | None:
    """The answer to whatever is asked of a study while the hospital takes no part; None: it does."""
    closed = gate_of(site).closed(study_digest)
    return None if closed is None else Refusal(code=closed.code, reason=closed.reason)


def gate_of(site: SiteConfig) -> Gate:
    """The gate of a hospital."""
    return Gate(state_path=site.state_path, quiet_hours=site.limits.quiet)


def gate_of_line(site: SiteConfig) -> Gate:
    """The gate for bytes of which nobody knows the study: every withdrawal closes it for them."""
    gate = gate_of(site)
    return replace(gate, num_cuts=read_orders(site.state_path).num_cuts)
