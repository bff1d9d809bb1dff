"""What a population is asked for: patients of a kind, the rest of a condition, what would be otherwise."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from model.label_model.intervene import intervene as intervene_on
from model.label_model.sample import NeverTogether, draw
from synthesis.population.conditions import (
    AGE,
    OLDEST_DRAWN,
    Condition,
    UnknownAttribute,
    in_words,
    one_hot,
    value_number,
    years_in_group,
)
from synthesis.population.population import Population

Band = tuple[int, int]
"""Years, both ends included."""


class NoBand(ValueError):
    """Ages that nobody has, or that were given another way as well."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"--age {why}: write two ages such as 60-80, the lower one first, and no other age"
        )


class TwoWishes(ValueError):
    """An attribute that shall have one value and equal shares."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} cannot be the same in all and shared equally: leave out one of the two"
        )


def sample(
    population: Population,
    num_records: int,
    given: Condition,
    *,
    band: Band | None = None,
    equal: Sequence[str] = (),
    rng: np.random.Generator,
) -> list[dict[str, str]]:
    """Records of the kind that is given, in random order.

    Args:
        population: Whom to draw from.
        num_records: How many.
        given: What all have in common.
        band: Ages that are allowed.
        equal: Attributes whose values shall be equally frequent, and so shall be all their combinations. The rest
            follows as in records that have those values.
        rng: The same state gives the same records.

    Raises:
        UnknownAttribute, UnknownValue, NoBand, TwoWishes: the wish makes no sense.
        NeverTogether: hardly any such record is to be expected.
    """
    likelihoods = {name: one_hot(population, name, word) for name, word in given.items()}
    if band is not None:
        if AGE in given or not band[0] <= band[1] or band[0] < 0:
            raise NoBand(f"{band[0]}-{band[1]}")
        likelihoods[AGE] = _ages(population, band)
    records: list[dict[str, str]] = []
    for quota, values in _quotas(population, num_records, likelihoods, equal):
        labels = draw(population.model, likelihoods | values, quota, rng)
        found = (
            in_words(population, labels, at, rng, band or (0, OLDEST_DRAWN)) for at in range(quota)
        )
        records += [words | dict(given) for words in found]
    return [records[place] for place in rng.permutation(len(records))]


def complete(
    population: Population, conditions: Sequence[Condition], rng: np.random.Generator
) -> list[dict[str, str]]:
    """The same conditions with everything that was open drawn, given what was given.

    Raises:
        UnknownAttribute, UnknownValue: a condition says what the population does not know.
        NeverTogether: one condition excludes itself.
    """
    completed: list[dict[str, str]] = [{}] * len(conditions)
    alike: dict[tuple[tuple[str, int], ...], list[int]] = {}
    for place, condition in enumerate(conditions):
        known = {name: value_number(population, name, word) for name, word in condition.items()}
        if known.keys() == population.model.graph.values.keys():
            completed[place] = dict(condition)
            continue
        alike.setdefault(tuple(sorted(known.items())), []).append(place)
    for places in alike.values():
        likelihoods = {
            name: one_hot(population, name, word) for name, word in conditions[places[0]].items()
        }
        try:
            labels = draw(population.model, likelihoods, len(places), rng)
        except NeverTogether as err:
            raise NeverTogether(f"record {places[0] + 1}: ") from err
        for at, place in enumerate(places):
            completed[place] = in_words(population, labels, at, rng) | dict(conditions[place])
    return completed


def intervene(
    population: Population,
    conditions: Sequence[Condition],
    changes: Condition,
    rng: np.random.Generator,
) -> list[dict[str, str]]:
    """The same records if something were otherwise; what was open is completed first.

    What the changes do not act on keeps its words, and so does what comes out as it was.

    Raises:
        RuleBroken: a change contradicts a rule of the graph.
    """
    before = complete(population, conditions, rng)
    numbers = {name: value_number(population, name, word) for name, word in changes.items()}
    labels = _labels(population, before)
    moved = intervene_on(population.model, labels, numbers, rng)
    return [
        _kept_words(before[at], in_words(population, moved, at, rng), labels, moved, at)
        | dict(changes)
        for at in range(len(before))
    ]


def _labels(
    population: Population, conditions: Sequence[Condition]
) -> dict[str, NDArray[np.int64]]:
    return {
        name: np.array([value_number(population, name, each[name]) for each in conditions])
        for name in population.model.graph.values
    }


def _kept_words(
    before: Condition,
    after: Condition,
    labels: Mapping[str, NDArray[np.int64]],
    moved: Mapping[str, NDArray[np.int64]],
    at: int,
) -> dict[str, str]:
    return {
        name: before[name] if labels[name][at] == moved[name][at] else word
        for name, word in after.items()
    }


def _ages(population: Population, band: Band) -> NDArray[np.float64]:
    """Of each group of ages, the share of its years that lie in the band."""
    if AGE not in population.model.graph.values:
        raise UnknownAttribute(AGE, tuple(population.model.graph.values))
    groups = range(len(population.model.graph.values[AGE]))
    return np.array([len(years_in_group(g, band)) / len(years_in_group(g)) for g in groups])


def _quotas(
    population: Population,
    num_records: int,
    likelihoods: Mapping[str, NDArray[np.float64]],
    equal: Sequence[str],
) -> list[tuple[int, dict[str, NDArray[np.float64]]]]:
    """How many records of which combination of values; the first combinations have one more where it does not come out."""
    choices = []
    for name in equal:
        if name not in population.model.graph.values:
            raise UnknownAttribute(name, tuple(population.model.graph.values))
        allowed = likelihoods.get(name, np.ones(len(population.model.graph.values[name])))
        if np.count_nonzero(allowed) < 2:
            raise TwoWishes(name)
        choices.append([(name, np.eye(len(allowed))[v] * allowed) for v in np.flatnonzero(allowed)])
    combinations = list(itertools.product(*choices))
    each, more = divmod(num_records, len(combinations))
    quotas = [(each + (place < more), dict(values)) for place, values in enumerate(combinations)]
    return [(quota, values) for quota, values in quotas if quota]
