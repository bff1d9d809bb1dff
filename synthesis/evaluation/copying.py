"""Whether the model repeats its training radiographs: every sample against every one of them, always."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.evaluation.copies import Copies, Gallery, Nearness, find_copies
from model.evaluation.encoders.encoder import Encoder
from model.evaluation.miniature import miniatures
from synthesis.evaluation.drawn import OnProgress
from synthesis.evaluation.radiographs import Radiographs
from synthesis.proportions import Share, share

NUM_PAIRS = 8
"""Pairs of a sample and its nearest training radiograph that a person is shown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """A sample and the training radiograph nearest to it."""

    sample: int
    """Place among the samples."""

    training: int
    """Place among the training radiographs."""

    ratio: float
    """Distance to it in pixels over that to the nearest held-out radiograph."""

    is_flagged: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class FormFacts:
    """What features, or pixels, say."""

    name: str
    median_distance: float
    """Of samples to their nearest training radiograph."""

    max_distance: float
    """Below it a sample is suspicious."""

    median_ratio: float
    """Of that distance over the one to the nearest held-out radiograph."""

    max_ratio: float
    num_flagged: int
    """Samples below both."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Copying:
    """What was found."""

    encoder: str
    num_training: int
    num_held_out: int
    flagged: Share
    """Of the samples, those that lie too near to a training radiograph in features or in pixels."""

    held_out_rate: float
    """Share of real held-out radiographs that the test flags: false alarms."""

    false_alarm_rate: float
    """Share of pictures without any copying that is called copies, at most."""

    chance: float
    """Probability of so many flagged samples if all were false alarms."""

    forms: tuple[FormFacts, ...]
    pairs: tuple[Pair, ...]
    """The nearest, flagged or not."""

    @property
    def verdict(self) -> str:
        """In plain words."""
        found, rate = self.flagged, self.false_alarm_rate
        high = 100 * found.interval.high
        if not found.count:
            return (
                f"No copy among {found.total} samples. If copies occur, then in less than {high:.2g} % of "
                "samples (95 % interval). Look at the nearest pairs all the same."
            )
        many = f"{found.count} of {found.total} samples lie as near to a training radiograph as"
        usual = f"at most {100 * rate:.2g} % of unseen radiographs do"
        if self.chance < 0.01:
            return (
                f"The model repeats training radiographs: {many} {usual}. Do not give it away before a person "
                "has looked at the pairs."
            )
        return f"{many} {usual}, which chance explains. Look at the pairs."


def gallery(
    encoder: Encoder, radiographs: Radiographs, what: str, on_progress: OnProgress
) -> Gallery:
    """Radiographs in the forms in which copies are looked for, 16-bit miniatures among them."""
    features, small, done = [], [], 0
    for images in radiographs.batches():
        features.append(encoder.features(images).astype(np.float32))
        small.append(miniatures(images).astype(np.float16))
        done += len(images)
        on_progress(what, done, len(radiographs))
    return Gallery(features=np.concatenate(features), miniatures=np.concatenate(small))


def joined(first: Gallery, second: Gallery) -> Gallery:
    """Both, one after the other."""
    return Gallery(
        features=np.concatenate([first.features, second.features]),
        miniatures=np.concatenate([first.miniatures, second.miniatures]),
    )


def copying(
    samples: Gallery,
    training: Gallery,
    held_out: Gallery,
    *,
    held_out_patients: NDArray[np.int64],
    encoder: str,
) -> Copying:
    """Test every sample.

    Args:
        samples: drawn radiographs.
        training: all radiographs that the model may have been trained on.
        held_out: radiographs of patients whom it never saw.
        held_out_patients: whose each of them is.
        encoder: name of what made the features.
    """
    found = find_copies(samples, training, held_out, held_out_patients=held_out_patients)
    return Copying(
        encoder=encoder,
        num_training=len(training.features),
        num_held_out=found.num_held_out,
        flagged=share(found.num_flagged, found.num_samples),
        held_out_rate=found.held_out_rate,
        false_alarm_rate=found.false_alarm_rate,
        chance=found.chance,
        forms=(
            _facts(
                "features", found.in_features, found.max_feature_distance, found.max_feature_ratio
            ),
            _facts("pixels", found.in_pixels, found.max_pixel_distance, found.max_pixel_ratio),
        ),
        pairs=_nearest(found),
    )


def _facts(name: str, samples: Nearness, max_distance: float, max_ratio: float) -> FormFacts:
    return FormFacts(
        name=name,
        median_distance=float(np.median(samples.distance)),
        max_distance=max_distance,
        median_ratio=float(np.median(samples.ratio)),
        max_ratio=max_ratio,
        num_flagged=int(samples.too_near(max_distance, max_ratio).sum()),
    )


def _nearest(found: Copies) -> tuple[Pair, ...]:
    flagged = set(found.flagged.tolist())
    return tuple(
        Pair(
            sample=sample,
            training=training,
            ratio=float(found.in_pixels.ratio[sample]),
            is_flagged=sample in flagged,
        )
        for sample, training in found.closest(NUM_PAIRS)
    )
