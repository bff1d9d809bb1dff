"""A population for people to read: who comes to which hospital, and how much each arrow does."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from federation.label_graph import SITE
from federation.statistics import PRESENCE
from model.label_model.sample import Drawn, draw
from synthesis.population.population import Population, Source

NUM_DRAWN = 20_000
"""Per hospital; a share is then off by at most 1 in 100, nearly always."""
MIN_SHARE = 0.01
"""Values that fewer have, in every hospital, are not shown."""

Shares = Mapping[str, Mapping[str, NDArray[np.float64]]]
"""Hospital -> attribute -> share of each value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrow:
    """What an arrow does, at its strongest."""

    parent: str
    child: str
    kept: float | None
    """Part of the counted association that chance and noise do not explain; None: no table was given."""
    odds: float
    """Odds of the child's value with one of the parent's values, over those with the other."""
    value: str
    """The child's."""
    with_: str
    """The parent's."""
    against: str
    """The parent's other value."""


def shares_of(population: Population, seed: int) -> Shares:
    """What the model gives every hospital, from records drawn."""
    rng, graph = np.random.default_rng(seed), population.model.graph
    sites = np.eye(len(population.hospitals))
    drawn = {
        site: draw(population.model, {SITE: sites[at]}, NUM_DRAWN, rng)
        for at, site in enumerate(population.hospitals)
    }
    return {
        site: {
            name: _shares(labels, name, len(graph.values[name])) for name in labels if name != SITE
        }
        for site, labels in drawn.items()
    }


def arrows_of(population: Population, shares: Shares) -> list[Arrow]:
    """Every arrow but a hospital's and a rule's."""
    graph = population.model.graph
    return [
        _arrow(population, parent, child, shares)
        for child in graph.order
        if child not in graph.none_of
        for parent in graph.parents[child]
        if parent != SITE
    ]


def facts(population: Population, seed: int) -> dict[str, object]:
    """Everything, for a program."""
    shares, values = shares_of(population, seed), population.model.graph.values
    return {
        "hospitals": {name: asdict(source) for name, source in population.hospitals.items()},
        "shares": {
            site: {n: dict(zip(values[n], each.tolist(), strict=True)) for n, each in table.items()}
            for site, table in shares.items()
        },
        "counted": {name: table[:, 1].tolist() for name, table in population.counted.items()},
        "arrows": [asdict(arrow) for arrow in arrows_of(population, shares)],
    }


def summary(population: Population, path: Path) -> str:
    """One line on what was fitted, and where it is."""
    names, num_attributes = ", ".join(population.hospitals), len(population.model.graph.values)
    return (
        f"{names}: {num_attributes} attributes, {len(population.kept)} arrows with tables: {path}"
    )


def render(population: Population, seed: int) -> str:
    """Shares by hospital, then arrows, for a terminal."""
    shares = shares_of(population, seed)
    sources = [f"{name}: {_source(source)}" for name, source in population.hospitals.items()]
    arrows = [_arrow_line(arrow) for arrow in arrows_of(population, shares)]
    return "\n".join(
        [
            *sources,
            "",
            *_share_lines(population, shares),
            *_rule_lines(population, shares),
            "",
            *arrows,
        ]
    )


def _share_lines(population: Population, shares: Shares) -> list[str]:
    lines = [("", "", *population.hospitals)]
    for name in population.model.graph.values:
        if name == SITE:
            continue
        for at, value in enumerate(population.model.graph.values[name]):
            row = [shares[site][name][at] for site in population.hospitals]
            if max(row) >= MIN_SHARE and value != PRESENCE[0]:
                lines.append((name, value, *(f"{share:.0%}" for share in row)))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def _rule_lines(population: Population, shares: Shares) -> list[str]:
    """Where an attribute follows a rule, the shares counted beside those that the rule gives."""
    lines = []
    for name, counted in population.counted.items():
        pairs = [
            f"{site} {own[1]:.0%} counted, {shares[site][name][1]:.0%} by the rule"
            for site, own in zip(population.hospitals, counted, strict=True)
        ]
        lines.append(f"{name}: {'; '.join(pairs)}")
    return lines


def _arrow_line(arrow: Arrow) -> str:
    start = f"{arrow.parent} -> {arrow.child}"
    if arrow.kept is None:
        return f"{start}: no hospital gave a table"
    if arrow.kept == 0:
        return f"{start}: nothing that chance would not explain"
    return f"{start}: odds of {arrow.value} x {arrow.odds:.2g} with {arrow.with_} against {arrow.against}"


def _source(source: Source) -> str:
    if source.is_exact:
        return f"{source.num_patients} patients, counted exactly; this protects nobody"
    if source.epsilon is not None:
        return (
            f"about {source.num_patients} patients, counts with noise (epsilon {source.epsilon:g})"
        )
    return f"about {source.num_patients} patients, counts in steps of {source.min_cell}"


def _shares(labels: Drawn, name: str, num_values: int) -> NDArray[np.float64]:
    counts: NDArray[np.float64] = np.bincount(labels[name], minlength=num_values) / NUM_DRAWN
    return counts


def _arrow(population: Population, parent: str, child: str, shares: Shares) -> Arrow:
    """The two values of the parent, and the one of the child, between which the arrow does most."""
    values, law = population.model.graph.values, population.model.laws[child]
    effect = law.effects.get(parent, np.zeros((len(values[parent]), len(values[child]))))
    others = effect.shape[1] - 1
    log_odds = effect - (effect.sum(axis=1, keepdims=True) - effect) / others
    rows, columns = (_frequent(name, shares) for name in (parent, child))
    columns = [at for at in columns if values[child][at] != PRESENCE[0]] or columns
    spread = np.ptp(log_odds[np.ix_(rows, columns)], axis=0)
    column = columns[int(spread.argmax())]
    low, high = (rows[int(at(log_odds[rows, column]))] for at in (np.argmin, np.argmax))
    if values[parent] == PRESENCE:
        low, high = 0, 1
    return Arrow(
        parent=parent,
        child=child,
        kept=population.kept.get((parent, child)),
        odds=math.exp(log_odds[high, column] - log_odds[low, column]),
        value=values[child][column] if values[child] != PRESENCE else child,
        with_=values[parent][high] if values[parent] != PRESENCE else parent,
        against=values[parent][low] if values[parent] != PRESENCE else "none",
    )


def _frequent(name: str, shares: Shares) -> list[int]:
    """Values that are not rare everywhere."""
    most = np.max([table[name] for table in shares.values()], axis=0)
    return [int(at) for at in np.flatnonzero(most >= MIN_SHARE)]
