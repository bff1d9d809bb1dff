"""Copies of one exposure are found whatever was done to them; two exposures of one patient never are."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from client.curation.candidates import candidate_pairs
from client.curation.fingerprint import Fingerprints, fingerprints, rank_miniature
from client.curation.near_duplicates import find_near_duplicates
from simulation.phantom import Phantom
from simulation.style import STYLES

SIZE = 128
NUM_PATIENTS = 6
Brightness = NDArray[np.float64]
Pictures = NDArray[np.uint16]


def stretched(brightness: Brightness) -> Pictures:
    """As the reader leaves a picture: percentiles at black and white, a square of one size."""
    low, high = np.percentile(brightness, (0.5, 99.5))
    picture = Image.fromarray(((brightness - low) / (high - low)).astype(np.float32))
    square = picture.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    return np.asarray(np.rint(np.clip(np.asarray(square), 0, 1) * 65535), np.uint16)


@pytest.fixture(scope="module")
def chests() -> list[Brightness]:
    """Two studies of each of six patients, in one hospital's style."""
    phantom = Phantom(SIZE)
    return [
        phantom.render(
            findings=frozenset(),
            patient_seed=patient,
            study_seed=study,
            sex="FM"[patient % 2],
            age=40.0 + 5 * patient,
            view="PA",
            style=STYLES["plain"],
        ).astype(np.float64)
        for patient in range(NUM_PATIENTS)
        for study in range(2)
    ]


PATIENTS = np.repeat(np.arange(NUM_PATIENTS, dtype=np.uint64), 2)


def compressed(brightness: Brightness) -> Brightness:
    file = io.BytesIO()
    Image.fromarray(np.rint(brightness * 255).astype(np.uint8)).save(file, "JPEG", quality=60)
    return np.asarray(Image.open(file)) / 255


def trimmed(brightness: Brightness) -> Brightness:
    return brightness[1:-2, 2:-1]


def in_eight_bits_and_noisy(brightness: Brightness) -> Brightness:
    noise = np.random.default_rng(3).normal(0.0, 0.01, brightness.shape)
    return np.rint(np.clip(brightness + noise, 0, 1) * 255) / 255


def shrunk(brightness: Brightness) -> Brightness:
    return np.asarray(Image.fromarray(brightness.astype(np.float32)).resize((90, 90)), np.float64)


def darkened(brightness: Brightness) -> Brightness:
    return brightness**1.6


def in_a_narrow_window(brightness: Brightness) -> Brightness:
    return np.clip((brightness - 0.5) / 0.8 + 0.5, 0, 1)


REWORKED: list[Callable[[Brightness], Brightness]] = [
    darkened,
    in_a_narrow_window,
    compressed,
    trimmed,
    in_eight_bits_and_noisy,
    shrunk,
]


def test_two_studies_of_a_patient_and_two_patients_are_not_copies(
    chests: list[Brightness],
) -> None:
    images = np.stack([stretched(chest) for chest in chests])
    assert not find_near_duplicates(images, PATIENTS).any()


@pytest.mark.slow
@pytest.mark.parametrize("rework", REWORKED)
def test_a_reworked_copy_is_dropped_and_the_first_is_kept(
    chests: list[Brightness], rework: Callable[[Brightness], Brightness]
) -> None:
    originals = [stretched(chest) for chest in chests]
    copies = [stretched(rework(chest)) for chest in chests[::4]]
    images = np.stack([*originals, *copies])
    expected = [False] * len(originals) + [True] * len(copies)
    # Under other patients' keys: a person may have two.
    someone_else = np.arange(100, 100 + len(copies), dtype=np.uint64)
    dropped = find_near_duplicates(images, np.concatenate([PATIENTS, someone_else]))
    assert dropped.tolist() == expected


def test_the_order_decides_which_copy_stays(chests: list[Brightness]) -> None:
    plain, reworked = stretched(chests[0]), stretched(chests[0] ** 1.5)
    other = stretched(chests[2])
    patients = np.zeros(3, np.uint64)
    for images in ([plain, other, reworked], [reworked, other, plain]):
        assert find_near_duplicates(np.stack(images), patients).tolist() == [False, False, True]


def test_of_many_copies_one_stays(chests: list[Brightness]) -> None:
    reworked = [stretched(chests[0] ** gamma) for gamma in np.linspace(0.7, 1.6, 12)]
    images = np.stack([stretched(chests[2]), *reworked])
    dropped = find_near_duplicates(images, np.zeros(13, np.uint64))
    assert dropped.tolist() == [False, False] + [True] * 11


def test_nothing_is_claimed_of_pictures_too_small_to_tell(chests: list[Brightness]) -> None:
    images = np.stack([stretched(chests[0])] * 2)
    patients = np.zeros(2, np.uint64)
    assert find_near_duplicates(images, patients).tolist() == [False, True]
    assert not find_near_duplicates(images[:, ::2, ::2], patients).any()


def test_no_pictures_have_no_copies() -> None:
    images = np.zeros((0, SIZE, SIZE), np.uint16)
    assert find_near_duplicates(images, np.zeros(0, np.uint64)).shape == (0,)


def test_empty_pictures_are_no_copies_of_each_other() -> None:
    images = np.zeros((4, SIZE, SIZE), np.uint16)
    assert not find_near_duplicates(images, np.arange(4, dtype=np.uint64)).any()


def test_ranks_do_not_depend_on_the_window() -> None:
    picture = np.random.default_rng(1).random((32, 32)).astype(np.float32)
    np.testing.assert_array_equal(rank_miniature(picture), rank_miniature(picture**3 * 0.2))


def random_prints(num_pictures: int) -> Fingerprints:
    """Fingerprints of pictures without anything in common."""
    rng = np.random.default_rng(5)
    return fingerprints(rng.integers(0, 256, (num_pictures, 32, 32), dtype=np.uint8))


def test_seven_bits_apart_two_fingerprints_still_meet() -> None:
    prints = random_prints(1)
    rng = np.random.default_rng(6)
    for _ in range(50):
        flipped = sum(1 << int(bit) for bit in rng.choice(54, 7, replace=False))
        bits = np.array([prints.bits[0], prints.bits[0] ^ np.uint64(flipped)])
        pair = Fingerprints(waves=np.repeat(prints.waves, 2, axis=0), bits=bits)
        assert candidate_pairs(pair, np.arange(2, dtype=np.uint64)).tolist() == [[0, 1]]


def test_pictures_of_one_patient_meet_even_without_a_slice_in_common() -> None:
    prints = random_prints(1)
    bits = np.array([prints.bits[0], prints.bits[0] ^ np.uint64(0b111111111 << 9)])
    pair = Fingerprints(waves=np.repeat(prints.waves, 2, axis=0), bits=bits)
    assert candidate_pairs(pair, np.array([1, 2], np.uint64)).tolist() == []
    assert candidate_pairs(pair, np.array([1, 1], np.uint64)).tolist() == [[0, 1]]


@pytest.mark.slow
def test_work_stays_bounded_when_all_pictures_look_alike() -> None:
    num_pictures = 400
    alike = random_prints(1)
    prints = Fingerprints(
        waves=np.repeat(alike.waves, num_pictures, axis=0),
        bits=np.repeat(alike.bits, num_pictures),
    )
    pairs = candidate_pairs(prints, np.zeros(num_pictures, np.uint64))
    assert len(pairs) <= 8 * num_pictures
    assert set(pairs[:, 1].tolist()) == set(range(1, num_pictures))
