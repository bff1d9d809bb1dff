"""Whether a model repeats radiographs that it was trained on: nearest training against nearest held-out record.

A copy lies nearer to a training record than patients do whom the model never saw, and much nearer than to any of
those patients. Two numbers say so for every sample: its distance to the nearest training record, and the ratio of
that to its distance to the nearest held-out record. Held-out radiographs, measured in the same way against the
training set and against the held-out records of other patients, say how small both get without any copying: as in
conformal prediction, the rate of false alarms holds whatever the distribution is.

It is asked twice: in the features of an encoder, and in pixels, after small shifts and whatever the brightness. A
sample is called a copy if both numbers are too small in either.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from numpy.typing import NDArray

from model.evaluation.binomial import at_least, exact_interval
from model.evaluation.bootstrap import Interval
from model.evaluation.distances import nearest
from model.evaluation.features import FeaturesUnusable, check_set
from model.evaluation.miniature import most_alike

Patients = Shaped[np.ndarray, " record"]
"""Whose each picture is."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Gallery:
    """Pictures in the two forms in which copies are looked for."""

    features: Float[np.ndarray, "record feature"]
    miniatures: Float[np.ndarray, "record rows columns"]
    """As ``miniature.miniatures`` makes them."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Nearness:
    """How near pictures lie to the training set, in one form."""

    distance: Float[np.ndarray, " record"]
    """To the nearest training record."""
    ratio: Float[np.ndarray, " record"]
    """That distance over the one to the nearest held-out record."""
    training_record: Int[np.ndarray, " record"]
    """Place of that training record."""

    def too_near(self, max_distance: float, max_ratio: float) -> Bool[np.ndarray, " record"]:
        """Pictures below both limits."""
        return (self.distance < max_distance) & (self.ratio < max_ratio)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Copies:
    """What was found among the samples."""

    in_features: Nearness
    in_pixels: Nearness
    """Of the samples."""
    max_feature_distance: float
    max_feature_ratio: float
    """Below both, a sample is called a copy for its features."""
    max_pixel_distance: float
    max_pixel_ratio: float
    """Below both, a sample is called a copy for its pixels."""
    num_held_out: int
    """Held-out records that set these limits."""
    held_out_rate: float
    """Share of the held-out records that would be called copies."""
    false_alarm_rate: float
    """Share of pictures without any copying that are called copies, at most."""

    @property
    def by_features(self) -> Bool[np.ndarray, " sample"]:
        """Samples that are called copies for their features."""
        return self.in_features.too_near(self.max_feature_distance, self.max_feature_ratio)

    @property
    def by_pixels(self) -> Bool[np.ndarray, " sample"]:
        """Samples that are called copies for their pixels."""
        return self.in_pixels.too_near(self.max_pixel_distance, self.max_pixel_ratio)

    @property
    def flagged(self) -> Int[np.ndarray, " flagged"]:
        """Samples that are called copies, the nearest in pixels first."""
        places = np.flatnonzero(self.by_features | self.by_pixels)
        return places[np.argsort(self.in_pixels.ratio[places], kind="stable")]

    @property
    def num_flagged(self) -> int:
        """Samples that are called copies."""
        return len(self.flagged)

    @property
    def num_samples(self) -> int:
        """Samples that were looked at."""
        return len(self.in_pixels.ratio)

    @property
    def interval(self) -> Interval:
        """95 % interval of the share of copies, exact."""
        return exact_interval(self.num_flagged, self.num_samples)

    @property
    def chance(self) -> float:
        """Probability of so many flagged samples, or more, if all were false alarms."""
        return at_least(self.num_flagged, self.num_samples, self.false_alarm_rate)

    def closest(self, count: int) -> list[tuple[int, int]]:
        """Pairs (sample, training record) for a person to look at: flagged ones first, then the nearest in pixels."""
        others = np.argsort(self.in_pixels.ratio, kind="stable")
        order = dict.fromkeys([*self.flagged.tolist(), *others.tolist()])
        return [(sample, self._nearest_record(sample)) for sample in list(order)[:count]]

    def _nearest_record(self, sample: int) -> int:
        """The training record in pixels, unless only the features call the sample a copy."""
        only_features = self.by_features[sample] and not self.by_pixels[sample]
        form = self.in_features if only_features else self.in_pixels
        return int(form.training_record[sample])


def find_copies(
    samples: Gallery,
    training: Gallery,
    held_out: Gallery,
    *,
    held_out_patients: Patients,
    false_alarm_rate: float = 0.01,
) -> Copies:
    """Test every sample.

    Args:
        samples: generated pictures.
        training: the records that the model was trained on.
        held_out: records of patients whom it never saw, of the same hospitals.
        held_out_patients: whose each held-out record is; two patients at least.
        false_alarm_rate: share of fresh pictures that may be called copies, in (0, 1). With n held-out records it
            cannot be kept below 2 / (n + 1), and a smaller one is raised to that.

    Raises:
        FeaturesUnusable: no training record or sample, one held-out patient, or values that are not finite.
    """
    _check(samples, training, held_out, held_out_patients)
    num_allowed = max(1, int(false_alarm_rate / 2 * (len(held_out.features) + 1)))
    calm_features = _in_features(held_out, training, held_out, held_out_patients)
    calm_pixels = _in_pixels(held_out, training, held_out, held_out_patients)
    feature_limits = _limits(calm_features, num_allowed)
    pixel_limits = _limits(calm_pixels, num_allowed)
    false_alarms = calm_features.too_near(*feature_limits) | calm_pixels.too_near(*pixel_limits)
    return Copies(
        in_features=_in_features(samples, training, held_out, None),
        in_pixels=_in_pixels(samples, training, held_out, None),
        max_feature_distance=feature_limits[0],
        max_feature_ratio=feature_limits[1],
        max_pixel_distance=pixel_limits[0],
        max_pixel_ratio=pixel_limits[1],
        num_held_out=len(false_alarms),
        held_out_rate=float(false_alarms.mean()),
        false_alarm_rate=min(1.0, 2 * num_allowed / (len(false_alarms) + 1)),
    )


def _check(samples: Gallery, training: Gallery, held_out: Gallery, patients: Patients) -> None:
    check_set("training", training.features, min_records=1)
    check_set("held-out", held_out.features, min_records=2)
    check_set("synthetic", samples.features, min_records=1)
    if len(np.unique(patients)) < 2:
        raise FeaturesUnusable("held-out", "are of one patient", "hold out two patients at least")


def _limits(held_out: Nearness, num_allowed: int) -> tuple[float, float]:
    """The distance and the ratio below which fewer than ``num_allowed`` of the held-out records lie."""
    place = num_allowed - 1
    return float(np.sort(held_out.distance)[place]), float(np.sort(held_out.ratio)[place])


def _in_features(
    pictures: Gallery, training: Gallery, held_out: Gallery, patients: Patients | None
) -> Nearness:
    """Euclidean distances."""
    distance, place = nearest(pictures.features, training.features)
    to_held_out, _ = nearest(
        pictures.features, held_out.features, from_patients=patients, to_patients=patients
    )
    return Nearness(distance=distance, ratio=_ratio(distance, to_held_out), training_record=place)


def _in_pixels(
    pictures: Gallery, training: Gallery, held_out: Gallery, patients: Patients | None
) -> Nearness:
    """Distances of normalised pictures, (2 - 2 correlation)^1/2."""
    to_training, place = most_alike(pictures.miniatures, training.miniatures)
    to_held_out, _ = most_alike(
        pictures.miniatures, held_out.miniatures, patients=patients, other_patients=patients
    )
    distance, other = (
        np.sqrt(np.maximum(2 - 2 * alike, 0)) for alike in (to_training, to_held_out)
    )
    return Nearness(distance=distance, ratio=_ratio(distance, other), training_record=place)


def _ratio(
    to_training: NDArray[np.float64], to_held_out: NDArray[np.float64]
) -> NDArray[np.float64]:
    return to_training / np.maximum(to_held_out, 1e-12)
