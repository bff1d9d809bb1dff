"""Whether a model gives away who was in its training: its loss on patients of the training and on patients held out.

A model fits best what it was trained on. The score of a patient is the loss of a model that never saw the hospital
minus that of the model under audit, which takes out how hard the radiographs are in themselves; without such a base it
is minus the loss alone. Losses are means over noise levels and noise draws, the same for both models, and over the
patient's radiographs: whoever has one radiograph of a patient may well have the others.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Shaped
from numpy.typing import NDArray

from privacy.audit.roc import Separation, separation

NOISE_LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Of the attack, from little noise to much: what was learned by heart shows most at little."""

Losses = Float[np.ndarray, " record"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Membership:
    """How well training patients are told from held-out patients."""

    raw: Separation
    """By the loss of the model alone."""
    calibrated: Separation | None
    """By how much lower it is than that of the base; None without one."""

    @property
    def strongest(self) -> Separation:
        """The one that tells more: an attacker who has both takes it."""
        if self.calibrated is None or self.raw.auc.value > self.calibrated.auc.value:
            return self.raw
        return self.calibrated


def membership(
    losses: Losses,
    *,
    patients: Shaped[np.ndarray, " record"],
    held_out: Bool[np.ndarray, " record"],
    generator: np.random.Generator,
    base_losses: Losses | None = None,
) -> Membership:
    """Tell members from others by every patient's score.

    Args:
        losses: of the model under audit, one per record, finite.
        patients: whose each record is.
        held_out: whether the training never saw it; all records of a patient alike.
        generator: of the resamples that the intervals are made of.
        base_losses: of the base, with the same noise levels and noise.

    Raises:
        ValueError: no training patient, no held-out patient, or a loss that is not finite.
    """
    raw = _separation(-losses, patients, held_out, generator)
    if base_losses is None:
        return Membership(raw=raw, calibrated=None)
    calibrated = _separation(base_losses - losses, patients, held_out, generator)
    return Membership(raw=raw, calibrated=calibrated)


def patient_means(
    scores: Float[np.ndarray, " record"], patients: Shaped[np.ndarray, " record"]
) -> Float[np.ndarray, " patient"]:
    """Mean over each patient's records, in the order of the patients' keys."""
    _, number, count = np.unique(patients, return_inverse=True, return_counts=True)
    return np.asarray(np.bincount(number, weights=scores) / count)


def _separation(
    scores: NDArray[np.floating],
    patients: Shaped[np.ndarray, " record"],
    held_out: NDArray[np.bool_],
    generator: np.random.Generator,
) -> Separation:
    return separation(
        patient_means(scores[~held_out], patients[~held_out]),
        patient_means(scores[held_out], patients[held_out]),
        generator=generator,
    )
