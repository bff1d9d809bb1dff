"""The running average of weights."""

import numpy as np
import pytest

from model.arrays import WrongTensor
from model.ema import update_average


def test_the_average_moves_by_the_share_that_does_not_stay() -> None:
    average = {"w": np.array([1.0, 2.0], dtype=np.float32)}
    moved = update_average(average, {"w": np.array([2.0, -2.0], dtype=np.float32)}, decay=0.75)
    np.testing.assert_array_equal(moved["w"], np.array([1.25, 1.0], dtype=np.float32))
    assert moved["w"].dtype == np.float32


def test_equal_weights_stay_equal_to_the_bit() -> None:
    weights = {"w": np.random.default_rng(1).normal(size=1000).astype(np.float32)}
    moved = update_average(weights, weights, decay=0.9999)
    np.testing.assert_array_equal(moved["w"], weights["w"])


def test_the_arrays_that_were_given_are_not_changed() -> None:
    average, current = ({"w": np.full(3, value, dtype=np.float32)} for value in (1.0, 2.0))
    update_average(average, current, decay=0.5)
    np.testing.assert_array_equal(average["w"], np.ones(3))


def test_small_moves_are_rounded_once_and_not_lost_in_float32() -> None:
    average = {"w": np.array([1.0], dtype=np.float32)}
    current = {"w": np.array([1.0 + 2**-10], dtype=np.float32)}
    moved = update_average(average, current, decay=0.999)
    assert moved["w"][0] == np.float32(1.0 + 2**-10 * 0.001)
    assert moved["w"][0] > 1.0


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_a_decay_out_of_range_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match="decay is"):
        update_average({}, {}, decay=decay)


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(WrongTensor, match="tensor w is missing"):
        update_average({"w": np.zeros(2, dtype=np.float32)}, {}, decay=0.5)
