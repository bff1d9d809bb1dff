"""What a study has cost each hospital's patients in privacy, as far as the coordinator can know it: an upper bound.

The noise and the rate of every step are constants of the study, so the epsilon of the rounds a hospital was asked for
follows from their number. What else its data have spent stands in the hospital's own ledger alone.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from federation.config import StudyConfig
from federation.messages import RefusalCode
from federation.planning.spending import charged_phase, phases_of
from privacy.accounting.epsilon import epsilon
from privacy.accounting.phase import Phase
from server.records import Part

DELTA = 1e-5
"""For comparison only: every hospital has a delta of its own."""
NEVER_TRAINED = frozenset(
    {
        *(RefusalCode.PROTOCOL, RefusalCode.STUDY, RefusalCode.NO_CACHE, RefusalCode.POLICY),
        *(RefusalCode.BUDGET, RefusalCode.PLAN, RefusalCode.UNAPPROVED, RefusalCode.WITHDRAWN),
    }
)
"""Refusals that come before anything is charged."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Spending:
    """The study's cost so far and at its end, at one hospital that takes part in everything."""

    by_site: Mapping[str, float]
    """Epsilon at `DELTA` of the rounds each hospital was asked for."""
    at_end: float
    """Of the whole study."""
    delta: float = DELTA

    @property
    def maximum(self) -> float:
        """Of the hospital that spent most."""
        return max(self.by_site.values(), default=0.0)


def spending(study: StudyConfig, parts: Sequence[Part]) -> Spending | None:
    """The cost at each hospital; None for a study that is not private throughout, and so promises nothing."""
    if not all(stage.local.privacy for stage in study.stages):
        return None
    asked = {(p.site, p.number) for p in parts if p.code not in NEVER_TRAINED}
    stages: dict[str, Counter[int]] = {}
    for site, number in sorted(asked):
        stages.setdefault(site, Counter())[study.stage_of(number)[0]] += 1
    by_site = {site: _epsilon(_phases(study, counts)) for site, counts in stages.items()}
    return Spending(by_site=by_site, at_end=_epsilon(phases_of(study)))


def _phases(study: StudyConfig, rounds: Counter[int]) -> list[Phase]:
    """The steps of so many rounds of each stage."""
    return [
        charged_phase(stage.local.privacy, rounds[index] * stage.local.local_steps)
        for index, stage in enumerate(study.stages)
        if stage.local.privacy and rounds[index]
    ]


def _epsilon(phases: list[Phase]) -> float:
    return epsilon(phases, DELTA).value if phases else 0.0
