"""Fitting a label model to hospitals' counts: one attribute's law after the other, parents first.

The parents' joint values, which nobody counted, are drawn from what has been fitted already.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from model.label_model.crowd import Crowd, arrivals
from model.label_model.graph import Graph
from model.label_model.label_model import LabelModel, Law
from model.label_model.margins import own_margins, parent_margin
from model.label_model.matching import Margin, match
from model.label_model.sample import pick
from model.label_model.tables import Arrow, SiteTables


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitted:
    """A label model, and how much of the hospitals' tables is in it."""

    model: LabelModel
    kept: Mapping[Arrow, float]
    """Arrow -> part of the association that chance and noise do not explain; arrows without a table are left out."""


def fit(
    graph: Graph, hospitals: Mapping[str, SiteTables], site: str, rng: np.random.Generator
) -> Fitted:
    """Fit every law to what the hospitals gave.

    Args:
        graph: Its values of ``site`` are the hospitals; attributes that none of them counted fall out of it.
        hospitals: Name -> counts, in the order of those values.
        site: The attribute that says which hospital a patient came to; it has no parents.
        rng: For the records that stand for the parents' joint values.
    """
    tables = list(hospitals.values())
    graph = graph.restricted_to({site}.union(graph.none_of, *(each.counts for each in tables)))
    sizes = [each.num_patients for each in tables]
    crowd, laws, kept = arrivals(site, sizes), {site: Law(base=np.log(sizes))}, dict[Arrow, float]()
    for name in graph.order:
        if name == site:
            continue
        if name not in graph.none_of:
            margins, kept_here = _margins(name, graph, tables, crowd)
            laws[name] = match(crowd.distinct(graph.parents[name]), margins)
            kept |= kept_here
        model = LabelModel(graph=graph, laws=laws)
        logits = model.log_probabilities(name, crowd.labels, len(crowd.weights))
        crowd.labels[name] = pick(logits, rng)
    return Fitted(model=LabelModel(graph=graph, laws=laws), kept=kept)


def _margins(
    name: str, graph: Graph, tables: Sequence[SiteTables], crowd: Crowd
) -> tuple[list[Margin], dict[Arrow, float]]:
    """All margins that an attribute's law has to give, and what was kept of its arrows' associations."""
    everybody, by_site = own_margins(name, tables, crowd)
    margins, kept = [everybody], dict[Arrow, float]()
    for parent in graph.parents[name]:
        if parent == crowd.site:
            margins.append(by_site)
        elif (told := parent_margin(parent, name, tables, crowd)) is not None:
            margins.append(told[0])
            kept[parent, name] = told[1]
    return margins, kept
