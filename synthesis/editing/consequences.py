"""What follows from an edit: at ninety years other findings are likely than at forty.

The label model completes what is known of the radiograph, sets what is wanted, and says what would be
otherwise; that is edited too. What the edit does not act on stays as it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.conditioning import Schema
from synthesis.generation.wish import SiteNumbers, Value, in_words, parse_value
from synthesis.population.ask import complete, intervene
from synthesis.population.population import load_population


@dataclass(frozen=True, kw_only=True, slots=True)
class Consequences:
    """Attributes that an edit acts on."""

    before: Mapping[str, Value]
    """How they are, as far as known, and otherwise how the label model draws them."""

    after: Mapping[str, Value]
    """How they would be; the same attributes."""


NO_CONSEQUENCES = Consequences(before={}, after={})


def consequences_of(
    path: Path,
    known: Mapping[str, Value],
    edits: Mapping[str, Value],
    schema: Schema,
    site_numbers: SiteNumbers,
    *,
    seed: int,
) -> Consequences:
    """Draw what would be otherwise.

    Args:
        path: the label model.
        known: what is known of the radiograph.
        edits: what is set.
        schema: the attributes that the model of radiographs knows.
        site_numbers: its hospitals.
        seed: of what is drawn.

    Raises:
        NoPopulation, UnknownAttribute, UnknownValue, NeverTogether, RuleBroken: it cannot tell.
    """
    population = load_population(path)
    rng = np.random.default_rng(seed)
    told = in_words(known, site_numbers)
    told = {name: told[name] for name in told.keys() & population.model.graph.values.keys()}
    (before,) = complete(population, [told], rng)
    (after,) = intervene(population, [before], in_words(edits, site_numbers), rng)
    moved = sorted(
        name
        for name in after.keys() & set(schema.names) - edits.keys()
        if after[name] != before[name]
    )
    old, new = (
        {name: parse_value(name, words[name], schema, site_numbers) for name in moved}
        for words in (before, after)
    )
    return Consequences(before=old, after=new)
