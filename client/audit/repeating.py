"""Looking for training radiographs among pictures that the model draws."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from client.audit.subject import Subject
from model.evaluation.binomial import at_least
from model.evaluation.copies import Copies, Gallery, Nearness, find_copies
from model.evaluation.miniature import miniatures
from model.generate import draw_batches, usual_sampling

NUM_SAMPLES = 64
"""Pictures that are drawn, with the conditions of training records: these provoke copies most."""
MAX_RECORDS = 5000
"""Of the training, and as many held out."""
COARSE = 16
"""Side of the thumbnails that copies are looked for in, beside the miniatures."""
CLEAR = 0.5
"""Twice as near to a training record as any held-out radiograph is: a copy, whatever chance says."""
MAX_CHANCE = 0.01
"""Less likely numbers of near pictures are not put down to chance."""
MIN_HELD_OUT = 20
"""Held-out records; with fewer nothing says how near is too near."""
AT_ONCE = 64


class TooFewHeldOut(ValueError):
    """Nothing to say how near unseen radiographs lie."""

    def __init__(self, num_held_out: int) -> None:
        super().__init__(
            f"{num_held_out} held-out radiographs of two patients or more are not enough, at least {MIN_HELD_OUT} are "
            "needed"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Repeated:
    """What was found among the drawn pictures."""

    num_samples: int
    num_clear: int
    """Copies beyond doubt."""
    num_near: int
    """Pictures nearer to a training record than nearly all held-out radiographs; the copies among them."""
    false_alarm_rate: float
    """Share of pictures that are near without any copying, at most."""
    chance: float
    """Probability of so many near ones without any copying."""
    share_closer_to_training: float
    """Of the pictures, nearer to a training than to a held-out record, of as many; about 0.5 without copying."""

    @property
    def num_copies(self) -> int:
        """Clear ones; all near ones where chance does not explain their number."""
        return self.num_near if self.chance < MAX_CHANCE else self.num_clear


def find_repeated(subject: Subject, *, seed: int) -> Repeated:
    """Draw pictures and compare them with every training record.

    Raises:
        TooFewHeldOut: nothing to compare with.
    """
    rng = np.random.default_rng(seed)
    records = subject.records
    training = rng.permutation(np.flatnonzero(~records.held_out))[:MAX_RECORDS]
    held_out = rng.permutation(np.flatnonzero(records.held_out))[:MAX_RECORDS]
    patients = records.patients[held_out]
    if len(held_out) < MIN_HELD_OUT or len(np.unique(patients)) < 2:
        raise TooFewHeldOut(len(held_out))
    samples = drawn(subject, training[:NUM_SAMPLES], seed=seed)
    real, unseen = (radiographs(subject, places) for places in (training, held_out))
    return compare(samples, real, unseen, held_out_patients=patients)


def compare(
    samples: Gallery, training: Gallery, held_out: Gallery, *, held_out_patients: NDArray[np.uint64]
) -> Repeated:
    """Count near pictures and clear copies."""
    found = find_copies(samples, training, held_out, held_out_patients=held_out_patients)
    strict = find_copies(
        samples, training, held_out, held_out_patients=held_out_patients, false_alarm_rate=1e-9
    )
    clear = _clear(strict)
    fewer = min(len(training.features), len(held_out.features))
    halves = _first(training, fewer), _first(held_out, fewer)
    fair = find_copies(samples, *halves, held_out_patients=held_out_patients[:fewer])
    return Repeated(
        num_samples=found.num_samples,
        num_clear=int(clear.sum()),
        num_near=found.num_flagged,
        false_alarm_rate=found.false_alarm_rate,
        chance=at_least(found.num_flagged, found.num_samples, found.false_alarm_rate),
        share_closer_to_training=float((fair.in_pixels.ratio < 1).mean()),
    )


def drawn(subject: Subject, places: NDArray[np.int64], *, seed: int) -> Gallery:
    """Pictures with the conditions of some records, as this model is usually drawn with."""
    conditions = torch.from_numpy(subject.rows[places])
    sampling = usual_sampling(subject.generator.manifest)
    batches = draw_batches(subject.generator, conditions, seed=seed, sampling=sampling)
    return _joined([gallery(images) for images in batches])


def radiographs(subject: Subject, places: NDArray[np.int64]) -> Gallery:
    """Some records, as pixels."""
    return _joined(
        [
            gallery(subject.records.records.batch(places[first : first + AT_ONCE])[0])
            for first in range(0, len(places), AT_ONCE)
        ]
    )


def gallery(images: Float[Tensor, "batch 1 height width"]) -> Gallery:
    """Pictures as miniatures, and as coarse thumbnails whatever their brightness and contrast."""
    coarse = adaptive_avg_pool2d(images, COARSE).flatten(1).numpy().astype(np.float64)
    coarse -= coarse.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(coarse, axis=1, keepdims=True)
    return Gallery(
        features=(coarse / np.maximum(lengths, 1e-12)).astype(np.float32),
        miniatures=miniatures(images),
    )


def _clear(found: Copies) -> NDArray[np.bool_]:
    """Samples far below the limits that no held-out record is below, in either form."""

    def below(form: Nearness, distance: float, ratio: float) -> NDArray[np.bool_]:
        if not (math.isfinite(distance) and math.isfinite(ratio)):
            return np.zeros(len(form.ratio), dtype=np.bool_)
        return form.too_near(CLEAR * distance, CLEAR * ratio)

    return below(found.in_features, found.max_feature_distance, found.max_feature_ratio) | below(
        found.in_pixels, found.max_pixel_distance, found.max_pixel_ratio
    )


def _first(whole: Gallery, count: int) -> Gallery:
    return Gallery(features=whole.features[:count], miniatures=whole.miniatures[:count])


def _joined(parts: list[Gallery]) -> Gallery:
    return Gallery(
        features=np.concatenate([part.features for part in parts]),
        miniatures=np.concatenate([part.miniatures for part in parts]),
    )
