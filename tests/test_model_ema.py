"""The running average of weights."""

import numpy as np
import pytest
from numpy.typing import NDArray

from model.ema import average_piece


def piece(*values: float) -> NDArray[np.float32]:
    return np.array(values, dtype=np.float32)


def test_the_average_moves_by_the_share_that_does_not_stay() -> None:
    moved = average_piece(piece(1.0, 2.0), piece(2.0, -2.0), decay=0.75)
    np.testing.assert_array_equal(moved, piece(1.25, 1.0))
    assert moved.dtype == np.float32


def test_equal_weights_stay_equal_to_the_bit() -> None:
    weights = np.random.default_rng(1).normal(size=1000).astype(np.float32)
    np.testing.assert_array_equal(average_piece(weights, weights, decay=0.9999), weights)


def test_what_was_given_is_not_changed() -> None:
    average, weights = piece(1.0, 1.0), piece(2.0, 2.0)
    average_piece(average, weights, decay=0.5)
    np.testing.assert_array_equal(average, piece(1.0, 1.0))
    np.testing.assert_array_equal(weights, piece(2.0, 2.0))


def test_the_average_is_rounded_to_float32_only_at_the_end() -> None:
    rng = np.random.default_rng(2)
    average, weights = (rng.normal(size=1000).astype(np.float32) for _ in range(2))
    exact = average + np.float64(1 - 0.999) * (weights.astype(np.float64) - average)
    moved = average_piece(average, weights, decay=0.999)
    np.testing.assert_array_equal(moved, exact.astype(np.float32))


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_a_decay_out_of_range_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match="decay is"):
        average_piece(piece(), piece(), decay=decay)
