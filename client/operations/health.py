"""Whether a hospital contributes: connected to the coordinator, and its last round was not its own failure."""

from collections.abc import Sequence
from dataclasses import dataclass

from client.config import SiteConfig
from client.evidence.log import Entry, Event, LogUnreadable, entries
from client.node_status import SENTENCES, read_status
from client.supernode import STATUS_NAME, NodeState, node_state
from federation.messages import RefusalCode
from privacy.ledger.chain import ChainDamaged

OWN_WISH = frozenset({RefusalCode.PAUSED, RefusalCode.WITHDRAWN})
"""A hospital that does not want to take part now is well."""
ANSWERS = frozenset({Event.ROUND_REFUSED, Event.CHANGE_MADE, Event.CHANGE_LEFT, Event.RESUMED})


@dataclass(frozen=True, kw_only=True, slots=True)
class Health:
    """One look at a hospital."""

    is_healthy: bool
    why: str
    """One sentence, for the person on call."""


def health_of(site: SiteConfig) -> Health:
    """Look at the node's status and at how its last round ended."""
    state = node_state(site.state_path)
    if state is NodeState.STOPPED:
        return Health(is_healthy=False, why="the node does not run: start `fedcxr hospital up`")
    if state is not NodeState.REGISTERED:
        status = read_status(site.state_path / STATUS_NAME)
        return Health(is_healthy=False, why=SENTENCES[status])
    try:
        return _of_last_round(entries(site.state_path))
    except (ChainDamaged, LogUnreadable) as err:
        return Health(is_healthy=False, why=str(err))


def _of_last_round(log: Sequence[Entry]) -> Health:
    answers = [entry for entry in log if entry.event in ANSWERS]
    if not answers:
        return Health(is_healthy=True, why="registered; no round was asked for yet")
    last = answers[-1]
    if last.event is Event.RESUMED:
        return Health(is_healthy=True, why="registered; takes part again")
    number = last.facts.get("round", "?")
    if last.event is not Event.ROUND_REFUSED:
        return Health(is_healthy=True, why=f"registered; its last round was {number}")
    is_wish = last.facts.get("code") in OWN_WISH
    why = f"round {number} was not taken: {last.facts.get('reason', '')}"
    return Health(is_healthy=is_wish, why=f"registered; {why}")
