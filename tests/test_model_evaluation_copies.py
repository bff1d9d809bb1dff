"""Planted copies are found, however disguised; pictures of other patients are not called copies."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from model.evaluation import miniature
from model.evaluation.copies import Copies, Gallery, find_copies
from model.evaluation.features import FeaturesUnusable
from model.evaluation.miniature import miniatures, most_alike
from simulation.phantom import Phantom
from simulation.style import STYLES

NUM_TRAINING, NUM_HELD_OUT, NUM_FRESH = 120, 100, 40
PLANTED = slice(0, 20)


def chests(first: int, num: int) -> Tensor:
    """Phantoms of as many patients, (num, 1, 64, 64) in [-1, 1]."""
    phantom, styles = Phantom(64), sorted(STYLES)
    pictures = [
        phantom.render(
            findings=set(),
            patient_seed=seed,
            study_seed=seed,
            sex="FM"[seed % 2],
            age=20.0 + seed % 60,
            view=("PA", "AP")[seed // 2 % 2],
            style=STYLES[styles[seed % len(styles)]],
        )
        for seed in range(first, first + num)
    ]
    return torch.from_numpy(np.stack(pictures)).float()[:, None] * 2 - 1


def gallery(images: Tensor) -> Gallery:
    """Both forms; the features are a fixed random projection, which knows nothing of radiographs."""
    pixels = images.flatten(1).numpy()
    projection = np.random.default_rng(1).normal(size=(pixels.shape[1], 64)) / 64
    return Gallery(features=pixels @ projection, miniatures=miniatures(images))


@pytest.fixture(scope="module")
def training() -> Tensor:
    return chests(0, NUM_TRAINING)


@pytest.fixture(scope="module")
def held_out() -> Tensor:
    return chests(1000, NUM_HELD_OUT)


@pytest.fixture(scope="module")
def search(training: Tensor, held_out: Tensor) -> Callable[[Tensor], Copies]:
    trained, unseen = gallery(training), gallery(held_out)

    def find(samples: Tensor) -> Copies:
        patients = np.arange(NUM_HELD_OUT)
        return find_copies(gallery(samples), trained, unseen, held_out_patients=patients)

    return find


def noisy(images: Tensor) -> Tensor:
    return images + 0.06 * torch.randn(images.shape, generator=torch.Generator().manual_seed(1))


def aside(images: Tensor) -> Tensor:
    """Moved by one pixel down and to the left; what comes in repeats the edge."""
    return pad(images, (0, 1, 1, 0), mode="replicate")[:, :, :-1, 1:]


DISGUISES: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda images: images,
    "noise": noisy,
    "brightness": lambda images: 0.8 * images + 0.15,
    "gamma": lambda images: ((images + 1) / 2).clamp(0, 1) ** 1.3 * 2 - 1,
    "a pixel aside": aside,
    "all at once": lambda images: noisy(0.9 * aside(images) + 0.05),
}


@pytest.mark.slow
@pytest.mark.parametrize("disguise", DISGUISES)
def test_planted_copies_are_found_and_led_back_to_their_originals(
    disguise: str, training: Tensor, search: Callable[[Tensor], Copies]
) -> None:
    found = search(DISGUISES[disguise](training[PLANTED]))
    assert found.num_flagged >= 18
    assert found.chance < 1e-6
    assert found.interval.low > 0.6
    assert all(sample == record for sample, record in found.closest(10))


@pytest.mark.slow
def test_other_patients_are_not_called_copies(search: Callable[[Tensor], Copies]) -> None:
    found = search(chests(2000, NUM_FRESH))
    assert found.num_flagged <= 1
    assert found.chance > 0.05
    assert found.interval.low < found.false_alarm_rate
    assert (found.num_samples, found.num_held_out) == (NUM_FRESH, NUM_HELD_OUT)


@pytest.mark.slow
def test_a_few_copies_among_many_others_come_first(
    training: Tensor, search: Callable[[Tensor], Copies]
) -> None:
    found = search(torch.cat([chests(2000, 10), noisy(training[7:9])]))
    assert sorted(found.flagged.tolist()) == [10, 11]
    assert set(found.closest(2)) == {(10, 7), (11, 8)}


def points(seed: int, num: int, width: int = 6) -> Gallery:
    """Features and pictures of noise, each patient his own."""
    rng = np.random.default_rng(seed)
    return Gallery(
        features=rng.normal(size=(num, width)), miniatures=rng.normal(size=(num, 12, 12))
    )


@pytest.mark.parametrize("rate", [0.04, 0.1])
def test_false_alarms_are_no_more_frequent_than_promised(rate: float) -> None:
    alarms = [
        find_copies(
            points(3 * seed, 20),
            points(3 * seed + 1, 60),
            points(3 * seed + 2, 99),
            held_out_patients=np.arange(99),
            false_alarm_rate=rate,
        ).num_flagged
        for seed in range(30)
    ]
    error = np.std(alarms) / 20 / np.sqrt(len(alarms))
    assert np.mean(alarms) / 20 <= rate + 3 * error


def test_the_rate_of_false_alarms_is_as_small_as_the_held_out_records_allow() -> None:
    found = find_copies(points(1, 5), points(2, 30), points(3, 19), held_out_patients=np.arange(19))
    assert found.false_alarm_rate == pytest.approx(2 / 20)


def test_the_held_out_records_of_a_patient_do_not_vouch_for_each_other() -> None:
    """Twins in the held-out set would make all held-out ratios huge, and fresh pictures look like copies."""
    unseen = points(3, 40)
    twins = Gallery(
        features=np.repeat(unseen.features, 2, axis=0),
        miniatures=np.repeat(unseen.miniatures, 2, axis=0),
    )
    patients = np.repeat(np.arange(40), 2)
    found = find_copies(points(1, 5), points(2, 40), twins, held_out_patients=patients)
    alone = find_copies(points(1, 5), points(2, 40), unseen, held_out_patients=np.arange(40))
    assert found.max_pixel_ratio == pytest.approx(alone.max_pixel_ratio)
    assert found.max_feature_ratio == pytest.approx(alone.max_feature_ratio)


def test_held_out_records_of_one_patient_are_refused() -> None:
    with pytest.raises(FeaturesUnusable, match="held-out features are of one patient"):
        find_copies(
            points(1, 5), points(2, 9), points(3, 4), held_out_patients=np.zeros(4, dtype=int)
        )


def test_likeness_is_the_correlation_at_the_best_shift(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(miniature, "row_blocks", lambda rows, _: [slice(0, 3), slice(3, rows)])
    rng = np.random.default_rng(1)
    others = rng.normal(size=(5, 10, 12))
    pictures = 3 * np.roll(others[[4, 1]], (1, -1), axis=(1, 2)) + 7
    likeness, place = most_alike(pictures, others)
    assert place.tolist() == [4, 1]
    np.testing.assert_allclose(likeness, 1.0, atol=1e-6)


def test_likeness_to_a_stranger_is_the_largest_of_all_correlations() -> None:
    rng = np.random.default_rng(2)
    one, other = rng.normal(size=(10, 10)), rng.normal(size=(10, 10))
    inner = one[2:-2, 2:-2].ravel()
    correlations = [
        np.corrcoef(inner, other[2 + down : 8 + down, 2 + right : 8 + right].ravel())[0, 1]
        for down in (-1, 0, 1)
        for right in (-1, 0, 1)
    ]
    likeness, _ = most_alike(one[None], other[None])
    assert likeness[0] == pytest.approx(max(correlations), abs=1e-6)


def test_a_miniature_is_blind_to_brightness_and_to_broad_shade(training: Tensor) -> None:
    shaded = training[:8] + torch.linspace(-0.3, 0.3, 64)
    (likeness, _), (usual, _) = (
        most_alike(miniatures(pictures), miniatures(others))
        for pictures, others in ((shaded, training[:8]), (training[:8], training[8:40]))
    )
    assert likeness.min() > 0.99
    assert usual.max() < likeness.min()


@pytest.mark.parametrize("size", [16, 64, 200])
def test_miniatures_are_made_of_pictures_of_every_size(size: int) -> None:
    small: NDArray[np.float32] = miniatures(torch.rand(2, 1, size, size))
    assert small.shape == (2, min(size, 64), min(size, 64))
