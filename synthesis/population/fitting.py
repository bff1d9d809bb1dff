"""From hospitals' counts to a population."""

import numpy as np
from numpy.typing import NDArray

from federation.label_graph import SITE
from federation.messages import SiteCounts
from model.conditioning import FINDING_STATES
from model.label_model.fit import fit
from model.label_model.graph import Graph
from model.label_model.margins import own_shares
from model.label_model.tables import SiteTables
from synthesis.population.counts import one_way, tables_of
from synthesis.population.population import Population, Source
from synthesis.population.sources import Gathered

PLAIN_SPEECH = np.array([0.0, 1.0])
"""Of a finding whose states nobody counted: what is there is said, what is not there is not."""


class NothingTold(ValueError):
    """Every hospital withheld everything."""

    def __init__(self) -> None:
        super().__init__(
            "no hospital gave enough counts to learn from: all are below what it lets out, so ask hospitals with "
            "more patients"
        )


def fit_population(gathered: Gathered, *, seed: int) -> Population:
    """Fit a label model to every hospital that told anything; the same seed and counts give the same one.

    Raises:
        NothingTold: there is no such hospital.
    """
    graph, findings, counts = gathered.graph, gathered.findings, gathered.counts
    found = {name: tables_of(counts[name], findings) for name in sorted(counts)}
    tables = {name: each for name, each in found.items() if each is not None and each.counts}
    if not tables:
        raise NothingTold
    graph = Graph(
        values=dict(graph.values) | {SITE: tuple(tables)},
        parents=graph.parents,
        none_of=graph.none_of,
    )
    fitted = fit(graph, tables, SITE, np.random.default_rng(seed))
    return Population(
        findings=findings,
        model=fitted.model,
        habits=_habits(findings, [one_way(counts[name]) for name in tables]),
        counted=_counted(fitted.model.graph, list(tables.values())),
        kept=fitted.kept,
        hospitals={name: _source(counts[name], is_exact=gathered.is_exact) for name in tables},
    )


def _habits(
    findings: tuple[str, ...], hospitals: list[dict[str, NDArray[np.float64]]]
) -> dict[str, NDArray[np.float64]]:
    """How each hospital's reports put a finding; where it did not say, as the others on average."""
    habits: dict[str, NDArray[np.float64]] = {}
    for finding in findings:
        told = [_habit(each[finding]) if finding in each else None for each in hospitals]
        known = [habit for habit in told if habit is not None]
        usual = np.mean(known or [PLAIN_SPEECH], axis=0)
        habits[finding] = np.stack([usual if habit is None else habit for habit in told])
    return habits


def _habit(by_state: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the present that is called uncertain, and of the others that is not mentioned."""
    number = dict(zip(FINDING_STATES, by_state.tolist(), strict=True))
    seen = number["present"] + number["uncertain"]
    unseen = number["absent"] + number["not_mentioned"]
    uncertain = number["uncertain"] / seen if seen > 0 else 0.0
    return np.array([uncertain, number["not_mentioned"] / unseen if unseen > 0 else 1.0])


def _counted(graph: Graph, tables: list[SiteTables]) -> dict[str, NDArray[np.float64]]:
    sizes = np.array([each.num_patients for each in tables])
    return {
        name: own_shares(name, tables, sizes)
        for name in graph.none_of
        if any(name in each.counts for each in tables)
    }


def _source(counts: SiteCounts, *, is_exact: bool) -> Source:
    return Source(
        num_patients=counts.num_patients or 0,
        min_cell=counts.min_cell,
        epsilon=counts.epsilon,
        is_exact=is_exact,
    )
