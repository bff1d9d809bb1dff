"""Several statements about one radiograph -> one: what they dispute is left unknown, and counted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from client.labels.states import ABSENT, NOT_MENTIONED, PRESENT, UNCERTAIN


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """What two statements come to."""

    states: Mapping[str, str]
    """Finding -> state; findings of which neither says anything, or which they dispute, are left out."""
    disputed: frozenset[str] = frozenset()
    """Findings of which one says another state than the other."""


def agreed(first: Mapping[str, str], second: Mapping[str, str]) -> Agreement:
    """Join two statements of equal weight, such as a row of the labels and the report of the study.

    Present, absent and uncertain dispute each other. A finding that one does not mention is as the other
    says.
    """
    states = dict(first)
    disputed = set()
    for finding, state in second.items():
        before = states.get(finding, NOT_MENTIONED)
        if before == NOT_MENTIONED:
            states[finding] = state
        elif state not in {before, NOT_MENTIONED}:
            disputed.add(finding)
            del states[finding]
    return Agreement(states=states, disputed=frozenset(disputed))


def voted(statements: Sequence[Mapping[str, str]], *, min_votes: int) -> Mapping[str, str]:
    """Join what several readers of one radiograph say.

    A finding is present if at least `min_votes` say so, uncertain if fewer do or somebody is unsure, and
    absent if all say so. If somebody's word is missing it is unknown.
    """
    findings = dict.fromkeys(finding for states in statements for finding in states)
    verdicts = {
        finding: _vote([states.get(finding, "") for states in statements], min_votes)
        for finding in findings
    }
    return {finding: state for finding, state in verdicts.items() if state}


def _vote(states: list[str], min_votes: int) -> str:
    if states.count(PRESENT) >= min_votes:
        return PRESENT
    if PRESENT in states or UNCERTAIN in states:
        return UNCERTAIN
    if "" in states:
        return ""
    return NOT_MENTIONED if NOT_MENTIONED in states else ABSENT
