"""What else would be different in this record if something were: interventions carried to what they act on.

Three steps (Pearl 2009, "Causality", 7.1). Abduction: what else than its parents made an attribute what it is here, is
drawn given what it is. Action: the attribute that is set is cut from its parents. Prediction: everything it acts
on follows anew from its law, with the rest of its causes as they were. A value is the largest of log-probability
plus Gumbel noise, so that the noise of a value seen can be drawn exactly (Oberst and Sontag 2019,
https://arxiv.org/abs/1905.05824), and that a value which became more likely than all others did never gives way.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int

from model.label_model.graph import NOT_PRESENT, PRESENT
from model.label_model.label_model import LabelModel, Labels
from model.label_model.sample import Drawn


class RuleBroken(ValueError):
    """An attribute that follows from others, set against them."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} cannot be set to something else than present: it follows from the findings, so set one of them"
        )


def intervene(
    model: LabelModel, labels: Labels, changes: Mapping[str, int], rng: np.random.Generator
) -> Drawn:
    """The same records with some attributes set; what these do not act on stays as it is.

    Args:
        model: The law of every attribute.
        labels: Every attribute of the model, of every record.
        changes: Attribute -> number of the value it is set to, in all records.
        rng: For the part of each record's causes that is not in the model.

    Raises:
        RuleBroken: an attribute that follows from others is set to something that does not follow.
    """
    changes = _with_rules(model, changes)
    num_records = len(next(iter(labels.values())))
    after: Drawn = dict(labels)
    after |= {name: np.full(num_records, value) for name, value in changes.items()}
    moved = model.graph.descendants(changes).difference(changes)
    for name in (each for each in model.graph.order if each in moved):
        logits = model.log_probabilities(name, after, num_records)
        if name not in model.graph.none_of:
            before = model.log_probabilities(name, labels, num_records)
            logits += noise_given(before, labels[name], rng)
        after[name] = logits.argmax(axis=1)
    return after


def noise_given(
    logits: Float[np.ndarray, "record value"],
    values: Int[np.ndarray, " record"],
    rng: np.random.Generator,
) -> Float[np.ndarray, "record value"]:
    """Gumbel noise given that log-probability plus noise was largest for the values seen.

    The largest sum is itself Gumbel, wherever it is; the other sums are Gumbel cut off at it (Maddison, Tarlow and
    Minka 2014, https://arxiv.org/abs/1411.0030).
    """
    largest = rng.gumbel(size=(len(logits), 1))
    free = logits + rng.gumbel(size=logits.shape)
    sums = -np.logaddexp(-largest, -free)
    np.put_along_axis(sums, values[:, None], largest, axis=1)
    noise: np.ndarray = sums - logits
    return noise


def _with_rules(model: LabelModel, changes: Mapping[str, int]) -> dict[str, int]:
    """The changes, and those that a rule makes of one: to set that there is no finding is to unset each."""
    found = dict(changes)
    for name in model.graph.none_of.intersection(changes):
        if changes[name] != PRESENT or any(changes.get(each) for each in model.graph.parents[name]):
            raise RuleBroken(name)
        del found[name]
        found |= dict.fromkeys(model.graph.parents[name], NOT_PRESENT)
    return found
