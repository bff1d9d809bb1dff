"""Whether the model serves some patients worse: the same measures by sex, age, view, hospital and maker.

Every sample has a real radiograph with its condition beside it, so that a group is compared with itself. First
one attribute at a time, then sex, age band, view and hospital together; groups below the smallest size are
counted and not shown.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from federation.statistics import MANUFACTURERS
from model.conditioning import RACES, SEXES, VIEWS, Schema
from synthesis.evaluation.estimate import Estimate, Values, Weights, estimate, mean_over
from synthesis.evaluation.reading import MIN_PER_VALUE, Reading, shared
from synthesis.evaluation.utility import Readings
from synthesis.proportions import Share, share

BANDS = ((0, 18), (18, 40), (40, 60), (60, 80), (80, 200))
"""Ages in years, from and below."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Subgroup:
    """One group of patients."""

    name: str
    num_records: int
    drawn: Estimate
    """Mean AUROC over attributes that a probe reads from the group's samples."""

    real: Estimate
    """The same of its real radiographs."""

    difference: Estimate
    """Samples minus real radiographs."""

    utility: Estimate
    """Mean AUROC, on the group's real radiographs, of a classifier trained on synthetic minus trained on real."""

    plausible: Share
    """Frontal samples that pass every plausibility check."""

    real_plausible: Share


@dataclass(frozen=True, kw_only=True, slots=True)
class Subgroups:
    """All groups that are large enough."""

    min_cell: int
    groups: tuple[Subgroup, ...]
    num_too_small: int
    """Groups that occur with fewer radiographs."""

    worst: str | None
    """Group in which samples fall furthest behind real radiographs."""

    @property
    def verdict(self) -> str:
        """In plain words."""
        if self.worst is None:
            return "No group is large enough to be judged."
        group = next(group for group in self.groups if group.name == self.worst)
        meaning = (
            f"Of {len(self.groups)} groups one looks bad by chance more easily than one alone."
            if group.difference.interval.high < 0
            else "Chance explains that."
        )
        return (
            f"Samples fall furthest behind real radiographs for {group.name} ({group.num_records} "
            f"radiographs): mean AUROC {group.drawn.value:.2f} against {group.real.value:.2f}, difference "
            f"{group.difference}. {meaning}"
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Evidence:
    """What is known of n pairs of a sample and the real radiograph with its condition."""

    drawn: Mapping[str, Reading]
    real: Mapping[str, Reading]
    drawn_passed: NDArray[np.bool_]
    """(n, check), plausibility checks."""

    real_passed: NDArray[np.bool_]
    frontal: NDArray[np.bool_]
    """(n,), which of them the plausibility checks are for."""


def subgroups(
    evidence: Evidence,
    classifiers: Readings,
    members: Sequence[tuple[str, NDArray[np.bool_]]],
    weights: Weights,
    min_cell: int,
) -> Subgroups:
    """Measure every group that is large enough.

    Args:
        evidence: of n pairs.
        classifiers: what those trained on samples and on radiographs read of the n real ones.
        members: groups and who of the n belongs to each, as ``groups_of`` gives them.
        weights: (1 + resample, n).
        min_cell: records that a group needs.
    """
    large = [(name, who) for name, who in members if who.sum() >= min_cell]
    groups = tuple(_group(name, who, evidence, classifiers, weights) for name, who in large)
    judged = [group for group in groups if not np.isnan(group.difference.value)]
    worst = min(judged, key=lambda group: group.difference.value, default=None)
    return Subgroups(
        min_cell=min_cell,
        groups=groups,
        num_too_small=len(members) - len(large),
        worst=worst.name if worst else None,
    )


def groups_of(
    rows: NDArray[np.float32],
    hospitals: NDArray[np.int64],
    names: Sequence[str],
    schema: Schema,
) -> list[tuple[str, NDArray[np.bool_]]]:
    """Groups that occur, by one attribute and by sex, age band, view and hospital together.

    Of groups with the same members the first counts: hospitals and their machines often coincide.

    Args:
        rows: (n, attribute), what is known of each radiograph.
        hospitals: (n,), places in ``names``.
        names: of the hospitals.
        schema: what the columns are.
    """
    sex, view, race, maker = (
        list(_by_value(rows[:, schema.names.index(name)], words))
        for name, words in (
            ("sex", SEXES),
            ("view", VIEWS),
            ("race", RACES),
            ("manufacturer", MANUFACTURERS),
        )
    )
    ages = list(_by_age(rows[:, 0]))
    sites = (
        [(name, hospitals == place) for place, name in enumerate(names)] if len(names) > 1 else []
    )
    singles = [
        group for part in (sex, ages, view, race, sites, maker) if len(part) > 1 for group in part
    ]
    crossed = _crossed([part for part in (sex, ages, view, sites) if len(part) > 1])
    different = {who.tobytes(): name for name, who in reversed((*singles, *crossed)) if who.any()}
    return [
        (name, who) for name, who in (*singles, *crossed) if different.get(who.tobytes()) == name
    ]


def _by_value(
    ids: NDArray[np.float32], words: Sequence[str]
) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    for number, word in enumerate(words, start=1):
        if (ids == number).any():
            yield word.replace("_", " "), ids == number


def _by_age(years: NDArray[np.float32]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    for low, high in BANDS:
        who = (years >= low) & (years < high)
        if who.any():
            yield (f"{low} to {high - 1} years" if high < 200 else f"{low} years and over"), who


def _crossed(
    parts: Sequence[Sequence[tuple[str, NDArray[np.bool_]]]],
) -> list[tuple[str, NDArray[np.bool_]]]:
    """Every combination; none of fewer than two attributes."""
    if len(parts) < 2:
        return []
    cells = list(parts[0])
    for part in parts[1:]:
        cells = [(f"{a}, {b}", one & other) for a, one in cells for b, other in part]
    return cells


def _group(
    name: str,
    who: NDArray[np.bool_],
    evidence: Evidence,
    classifiers: Readings,
    weights: Weights,
) -> Subgroup:
    probes = (evidence.drawn, evidence.real)
    others = (classifiers["synthetic"], classifiers["real"])
    drawn, real = (_mean(part, _shared(probes, who), weights * who) for part in probes)
    on_synthetic, on_real = (_mean(part, _shared(others, who), weights * who) for part in others)
    judged = who & evidence.frontal
    return Subgroup(
        name=name,
        num_records=int(who.sum()),
        drawn=estimate(drawn),
        real=estimate(real),
        difference=estimate(drawn - real),
        utility=estimate(on_synthetic - on_real),
        plausible=_every(evidence.drawn_passed[judged]),
        real_plausible=_every(evidence.real_passed[judged]),
    )


def _every(passed: NDArray[np.bool_]) -> Share:
    """Of those that pass every check."""
    return share(int(passed.all(axis=1).sum()), len(passed))


def _shared(
    parts: tuple[Mapping[str, Reading], Mapping[str, Reading]], who: NDArray[np.bool_]
) -> list[str]:
    """Attributes that both read as one of two values, of which both occur often enough in the group."""
    return [
        name
        for name, reading in parts[1].items()
        if reading.measure == "AUROC"
        and name in shared(*parts)
        and min(int((reading.truth[who] == value).sum()) for value in (0, 1)) >= MIN_PER_VALUE
    ]


def _mean(readings: Mapping[str, Reading], attributes: Sequence[str], weights: Weights) -> Values:
    if not attributes:
        return np.full(len(weights), np.nan)
    return mean_over([readings[name].statistic(weights) for name in attributes])
