"""Conditions in words, as prompts have them, and as the label model's numbers.

Words say more than the model knows: years and not a group of ages, "not mentioned" and not just "not present". What is
given stays as it was given, to the word; for what is drawn, years are drawn within the group, and a report's words as the
hospital's reports put them.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from federation.label_graph import SITE
from federation.statistics import AGES, PRESENCE, PRESENCE_OF, YEARS_PER_GROUP
from model.label_model.graph import PRESENT
from model.label_model.label_model import Labels
from synthesis.population.population import Population

Condition = Mapping[str, str]
"""Attribute -> the word for its value; attributes left out are open."""

AGE = "age"
OLDEST_DRAWN = 90
"""Years; caches keep older patients as this old."""
OLDEST_GIVEN = 120.0


class UnknownValue(ValueError):
    """A word that means nothing here."""

    def __init__(self, name: str, given: str, known: tuple[str, ...]) -> None:
        super().__init__(f"{name} is {given!r}: give one of {', '.join(known)}")


class UnknownAttribute(ValueError):
    """A name that this population does not have."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(f"{name!r} is nothing this population knows: there are {', '.join(known)}")


def value_number(population: Population, name: str, word: str) -> int:
    """Number of the value that a word stands for.

    Raises:
        UnknownAttribute: the population has no such attribute.
        UnknownValue: the attribute has no such value.
    """
    values = population.model.graph.values
    if name not in values:
        raise UnknownAttribute(name, tuple(values))
    if name == AGE:
        return min(int(years_of(word) // YEARS_PER_GROUP), len(AGES) - 1)
    if name in population.findings:
        if word not in PRESENCE_OF:
            raise UnknownValue(name, word, tuple(PRESENCE_OF))
        return PRESENCE.index(PRESENCE_OF[word])
    if word not in values[name]:
        raise UnknownValue(name, word, values[name])
    return values[name].index(word)


def years_of(word: str) -> float:
    """An age as a number.

    Raises:
        UnknownValue: it is none.
    """
    span = (f"years from 0 to {OLDEST_GIVEN:.0f}",)
    try:
        years = float(word)
    except ValueError:
        raise UnknownValue(AGE, word, span) from None
    if not 0 <= years <= OLDEST_GIVEN:
        raise UnknownValue(AGE, word, span)
    return years


def one_hot(population: Population, name: str, word: str) -> NDArray[np.float64]:
    """Weights of an attribute's values, of which one is given."""
    weights = np.zeros(len(population.model.graph.values[name]))
    weights[value_number(population, name, word)] = 1.0
    return weights


def years_in_group(group: int, band: tuple[int, int] = (0, OLDEST_DRAWN)) -> range:
    """Whole years of a group of ages that lie in a band, both ends included."""
    first = group * YEARS_PER_GROUP
    last = OLDEST_DRAWN if group == len(AGES) - 1 else first + YEARS_PER_GROUP - 1
    return range(max(first, min(band[0], OLDEST_DRAWN)), min(last, band[1]) + 1)


def in_words(
    population: Population,
    labels: Labels,
    record: int,
    rng: np.random.Generator,
    band: tuple[int, int] = (0, OLDEST_DRAWN),
) -> dict[str, str]:
    """All attributes of one record; what the model leaves open is drawn."""
    graph, words = population.model.graph, dict[str, str]()
    for name in graph.values:
        number = int(labels[name][record])
        if name == AGE:
            words[name] = str(rng.choice(years_in_group(number, band)))
        elif name in population.findings:
            habit = population.habits[name][labels[SITE][record]]
            words[name] = _state(number, habit, rng)
        else:
            words[name] = graph.values[name][number]
    return words


def _state(presence: int, habit: NDArray[np.float64], rng: np.random.Generator) -> str:
    """How a report puts a finding that is there, or one that is not."""
    said = ("uncertain", "present") if presence == PRESENT else ("not_mentioned", "absent")
    return said[0] if rng.random() < habit[0 if presence == PRESENT else 1] else said[1]
