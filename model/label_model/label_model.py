"""Probabilities of labels along a graph.

Every attribute has a multinomial logistic law: the log-probability of a value is, up to a constant, a base number plus
one number for each parent's value. This is the law of largest entropy among those with given shares of a child's and
one parent's values, taken two at a time, which is all that hospitals count.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from model.label_model.graph import PRESENT, Graph

Labels = Mapping[str, Int[np.ndarray, " record"]]
"""Attribute -> number of the value in ``Graph.values``, one per record."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Law:
    """How probable one attribute's values are, given its parents."""

    base: Float[np.ndarray, " value"]
    """Log-probabilities up to a constant, where no parent says anything."""
    effects: Mapping[str, Float[np.ndarray, "parent_value value"]] = field(default_factory=dict)
    """Parent -> what each of its values adds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelModel:
    """A graph and a law for each of its attributes but those that follow a rule."""

    graph: Graph
    laws: Mapping[str, Law]

    def log_probabilities(self, name: str, labels: Labels, num_records: int) -> np.ndarray:
        """Of every value of an attribute given its parents, (record, value); -inf for what cannot be."""
        parents = self.graph.parents[name]
        if name in self.graph.none_of:
            is_any = np.zeros(num_records, dtype=np.bool_)
            for parent in parents:
                is_any |= labels[parent] == PRESENT
            return np.where(np.stack([is_any, ~is_any], axis=1), 0.0, -np.inf)
        law = self.laws[name]
        logits = np.tile(law.base, (num_records, 1))
        for parent, effect in law.effects.items():
            logits += effect[labels[parent]]
        normalised: np.ndarray = logits - log_sum(logits)[:, None]
        return normalised


def log_sum(logits: Float[np.ndarray, "record value"]) -> Float[np.ndarray, " record"]:
    """Logarithm of the sum of exponentials; -inf where all are -inf."""
    top = logits.max(axis=1)
    shift = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        summed: np.ndarray = np.log(np.exp(logits - shift[:, None]).sum(axis=1)) + shift
    return summed
