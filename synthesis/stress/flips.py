"""What an edit does to a classifier's answers: how often they flip, and how far the scores move."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.evaluation.bootstrap import Interval, bootstrap_interval
from synthesis.proportions import Share, share
from synthesis.stress.changes import Change
from synthesis.stress.figures import MATERIAL, RESAMPLES_PER_COMPARISON, Excess
from synthesis.stress.tables import Measuring

FLIP, DEAF = "answers flip", "the answer does not follow"
RISE, FALL = "the score rises", "the score falls"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Answers:
    """One judge's scores of n pictures before and after one change."""

    before: NDArray[np.float64]
    after: NDArray[np.float64]
    threshold: float
    """Score from which on the finding counts as seen."""

    @property
    def saw(self) -> NDArray[np.bool_]:
        """Whether the finding was seen before."""
        return np.asarray(self.before >= self.threshold)

    @property
    def sees(self) -> NDArray[np.bool_]:
        """Whether it is seen after."""
        return np.asarray(self.after >= self.threshold)

    @property
    def moves(self) -> NDArray[np.float64]:
        """Score after minus score before."""
        return self.after - self.before


@dataclass(frozen=True, kw_only=True, slots=True)
class Flips:
    """Pairs of pictures, before and after one change. All intervals of a table together cover with 95 %."""

    what: str
    rises: bool | None
    """Whether the answers should flip to "seen" or away from it, as the finding was changed; None if to neither."""

    flipped: Share
    """Pairs whose answer flipped; of a change of the finding, only among those answered rightly before."""

    num_up: int
    """Flips to "seen"."""

    num_down: int
    shift: float
    """Mean of score after minus score before, over all pairs."""

    shift_interval: Interval
    reference: "Flips | None" = None
    """Of the reference, on the same pairs."""

    @property
    def concern(self) -> str | None:
        """What is wrong, in words; None if nothing is, or it is not certain."""
        moved = Excess(value=self.shift, interval=self.shift_interval)
        if self.rises is not None:
            follows = moved.is_above if self.rises else moved.is_below
            is_deaf = self.flipped.total > 0 and self.flipped.interval.high < 0.5 and not follows
            return DEAF if is_deaf else None
        if self.flipped.total and self.flipped.interval.low > MATERIAL:
            return FLIP
        if moved.is_above:
            return RISE
        return FALL if moved.is_below else None

    @property
    def is_shared(self) -> bool:
        """Whether the reference does at least half of it, so that the pictures may be to blame."""
        if self.reference is None or self.concern is None:
            return False
        return {
            DEAF: self.reference.concern == DEAF,
            FLIP: self.reference.flipped.value >= self.flipped.value / 2,
            RISE: self.reference.shift >= self.shift / 2,
            FALL: self.reference.shift <= self.shift / 2,
        }[self.concern]


def count_flips(
    change: Change,
    answers: Answers,
    reference: Answers | None,
    *,
    num_comparisons: int,
    how: Measuring,
) -> Flips:
    """Compare scores of the same pictures before and after one change.

    Args:
        change: what was changed.
        answers: of the classifier under test.
        reference: of the reference, on the same pictures.
        num_comparisons: of the whole table; the intervals are widened for it (Bonferroni).
        how: resamples and their seed.
    """
    rises, confidence = change.rises, 1 - 0.05 / num_comparisons
    saw, sees = answers.saw, answers.sees
    counts = np.ones(len(saw), dtype=np.bool_) if rises is None else saw != rises
    flipped = (saw != sees)[counts]
    shift = _mean(answers.moves, num_comparisons, how)
    beside = None
    if reference is not None:
        beside = count_flips(change, reference, None, num_comparisons=num_comparisons, how=how)
    return Flips(
        what=change.what,
        rises=rises,
        flipped=share(int(flipped.sum()), len(flipped), confidence=confidence),
        num_up=int((sees & ~saw).sum()),
        num_down=int((saw & ~sees).sum()),
        shift=shift.value,
        shift_interval=shift.interval,
        reference=beside,
    )


def _mean(values: NDArray[np.float64], num_comparisons: int, how: Measuring) -> Excess:
    """Mean with a widened interval; of nothing, nothing."""
    if not len(values):
        return Excess(value=0.0, interval=Interval(low=0.0, high=0.0))
    interval = bootstrap_interval(
        lambda places: float(values[places].mean()),
        np.arange(len(values)),
        generator=np.random.default_rng(how.seed),
        num_resamples=max(how.num_resamples, RESAMPLES_PER_COMPARISON * num_comparisons),
        confidence=1 - 0.05 / num_comparisons,
    )
    return Excess(value=float(values.mean()), interval=interval)
