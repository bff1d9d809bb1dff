"""Drawing labels, with anything given: causes, effects, or weights on values.

Likelihood weighting (Fung and Chang 1990; Shachter and Peot 1990): records are drawn parents first; an attribute of
which something is given is drawn among what is allowed, and the record's weight is multiplied by how probable that
was. Records picked by weight are then distributed as they are given what is given, also where the causes of what is
given are open. How many records the weights are worth says whether they are enough.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int

from model.label_model.graph import NOT_PRESENT, PRESENT
from model.label_model.label_model import LabelModel, log_sum

Likelihoods = Mapping[str, Float[np.ndarray, " value"]]
"""Attribute -> a weight per value: 1 and 0 for a value that is given, anything between for a leaning. Attributes
left out are open."""
Drawn = dict[str, Int[np.ndarray, " record"]]

MIN_DRAWN = 1_000
ENOUGH_FOR_ONE = 15_000
"""Drawn records of which at least one has to be possible."""
MAX_DRAWN = 200_000
MIN_WORTH = 200
"""Records that the weights have to be worth; below, the answer would be a few records over and over."""


class NeverTogether(ValueError):
    """What is given excludes itself, or is too rare to be drawn."""

    def __init__(self, where: str = "") -> None:
        super().__init__(
            f"{where}what is given hardly ever occurs together in these counts: leave some of it open"
        )


def draw(
    model: LabelModel, given: Likelihoods, num_records: int, rng: np.random.Generator
) -> Drawn:
    """Records distributed as the model says they are given what is given.

    Raises:
        NeverTogether: not enough records of the kind could be drawn.
    """
    given, num_drawn = _with_rules(model, given), max(MIN_DRAWN, 2 * num_records)
    while True:
        labels, log_weights = _weighted(model, given, num_drawn, rng)
        worth = _worth(log_weights)
        if worth >= max(MIN_WORTH, num_records) or (worth >= MIN_WORTH and num_drawn >= MAX_DRAWN):
            break
        if num_drawn >= (MAX_DRAWN if worth > 0 else ENOUGH_FOR_ONE):
            raise NeverTogether
        num_drawn *= 4
    chosen = _pick_evenly(np.exp(log_weights - log_weights.max()), num_records, rng)
    return {name: values[chosen] for name, values in labels.items()}


def pick(
    log_weights: Float[np.ndarray, "record value"], rng: np.random.Generator
) -> Int[np.ndarray, " record"]:
    """One value per record with probability proportional to exp(log_weights)."""
    chosen: np.ndarray = (log_weights + rng.gumbel(size=log_weights.shape)).argmax(axis=1)
    return chosen


def _weighted(
    model: LabelModel, given: Likelihoods, num_records: int, rng: np.random.Generator
) -> tuple[Drawn, Float[np.ndarray, " record"]]:
    """Records and the logarithms of their weights."""
    labels: Drawn = {}
    log_weights = np.zeros(num_records)
    for name in model.graph.order:
        logits = model.log_probabilities(name, labels, num_records)
        if name in given:
            with np.errstate(divide="ignore"):
                logits += np.log(given[name])
            log_weights += log_sum(logits)
        labels[name] = pick(logits, rng)
    return labels, log_weights


def _worth(log_weights: Float[np.ndarray, " record"]) -> float:
    """How many records of equal weight say as much; 0 if none of these is possible."""
    top = float(log_weights.max())
    if not np.isfinite(top):
        return 0.0
    weights = np.exp(log_weights - top)
    return float(weights.sum() ** 2 / np.square(weights).sum())


def _with_rules(model: LabelModel, given: Likelihoods) -> Likelihoods:
    """What is given, and what the rules force with it: where no finding is given, each of them is absent."""
    forced = dict(given)
    for name in model.graph.none_of.intersection(given):
        if given[name][NOT_PRESENT] == 0:
            for parent in model.graph.parents[name]:
                allowed = forced.get(parent, np.ones(2))
                forced[parent] = np.where(np.arange(2) == PRESENT, 0.0, allowed)
    return forced


def _pick_evenly(
    weights: Float[np.ndarray, " record"], num_picked: int, rng: np.random.Generator
) -> Int[np.ndarray, " picked"]:
    """Places of records by weight, as few of them twice as can be, in random order (systematic resampling)."""
    steps = (np.arange(num_picked) + rng.random()) / num_picked
    places = np.searchsorted(np.cumsum(weights) / weights.sum(), steps)
    return rng.permutation(np.minimum(places, len(weights) - 1))
