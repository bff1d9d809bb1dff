"""Encodings: what each keeps of a value, that every stretch can be read by itself, and that nothing broken is mended."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from federation.encoding import GROUP, LEVELS, Encoding, decode, encode, encoded_size

ENCODINGS: tuple[Encoding, ...] = ("fp32", "bf16", "int8", "int4")
WHOLE: tuple[Encoding, ...] = ("int8", "int4")
SPECIAL = np.array(
    [0x80000000, 0x7F800000, 0xFF800000, 0x7FA00001, 0xFFFFFFFF, 0x7F7FFFFF, 1, 0x3F808000],
    np.uint32,
).view(np.float32)
any_bits = arrays(np.uint32, st.integers(0, 700)).map(lambda bits: bits.view(np.float32))
ordinary = arrays(
    np.float32,
    st.integers(1, 700),
    elements=st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False),
)
seeds = st.integers(0, 2**32 - 1)


def bits(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    return values.view(np.uint32)


def there_and_back(
    values: NDArray[np.float32], encoding: Encoding, seed: int = 1
) -> NDArray[np.float32]:
    content = encode(values, encoding, np.random.default_rng(seed))
    return decode(lambda start, stop: content[start:stop], encoding, 0, values.size)


def steps(values: NDArray[np.float32], encoding: Encoding) -> NDArray[np.float32]:
    """Distance between two neighbours that a value may become."""
    groups = [values[start : start + GROUP] for start in range(0, values.size, GROUP)]
    scales = [np.abs(group).max() / np.float32(LEVELS[encoding]) for group in groups]
    return np.repeat(np.array(scales, np.float32), GROUP)[: values.size]


@given(any_bits)
def test_float32_keeps_every_bit(values: NDArray[np.float32]) -> None:
    np.testing.assert_array_equal(bits(there_and_back(values, "fp32")), bits(values))


def test_float32_keeps_the_payload_of_nan_and_the_sign_of_zero() -> None:
    np.testing.assert_array_equal(bits(there_and_back(SPECIAL, "fp32")), bits(SPECIAL))


@given(any_bits)
def test_bfloat16_is_rounded_as_torch_rounds_it(values: NDArray[np.float32]) -> None:
    wanted = torch.from_numpy(values.copy()).bfloat16().float().numpy()
    found = there_and_back(values, "bf16")
    np.testing.assert_array_equal(np.isnan(found), np.isnan(values))
    numbers = ~np.isnan(values)
    np.testing.assert_array_equal(bits(found)[numbers], bits(wanted)[numbers])


def test_bfloat16_rounds_ties_to_even_and_the_largest_to_infinity() -> None:
    halfway = np.array([0x3F808000, 0x3F818000, 0x7F7FFFFF, 0xFF7FFFFF], np.uint32)
    found = there_and_back(halfway.view(np.float32), "bf16")
    assert [hex(each) for each in bits(found)] == [
        "0x3f800000",
        "0x3f820000",
        "0x7f800000",
        "0xff800000",
    ]


@pytest.mark.parametrize("encoding", WHOLE)
@given(values=ordinary, seed=seeds)
def test_whole_numbers_are_no_more_than_one_step_off(
    encoding: Encoding, values: NDArray[np.float32], seed: int
) -> None:
    found = there_and_back(values, encoding, seed)
    # one step, and what float32 rounds when it divides and multiplies by the scale
    allowed = steps(values, encoding) + np.abs(values) * np.float32(2**-22) + np.float32(1e-38)
    assert np.all(np.abs(found - values) <= allowed)


@pytest.mark.parametrize("encoding", WHOLE)
def test_the_mean_of_many_draws_is_the_value(encoding: Encoding) -> None:
    values = np.random.default_rng(1).normal(size=GROUP).astype(np.float32)
    num_draws, rng = 4000, np.random.default_rng(2)
    content = [encode(values, encoding, rng) for _ in range(num_draws)]
    drawn = [decode(lambda a, b, c=each: c[a:b], encoding, 0, GROUP) for each in content]  # type: ignore[misc]
    bias = np.mean(drawn, axis=0, dtype=np.float64) - values
    step = steps(values, encoding)
    # A draw's deviation is at most half a step; 5 of the mean's are exceeded once in some 7,000 tests of 256 values.
    assert np.all(np.abs(bias) <= 5 * step / 2 / np.sqrt(num_draws))
    # A rounding to nearest passes that for no value off its grid: the largest error of one is half a step.
    nearest = np.round(values / step) * step
    assert np.abs(nearest - values).max() > 10 * np.abs(bias).max()


@pytest.mark.parametrize("encoding", WHOLE)
def test_draws_differ_from_one_to_the_next_unless_they_are_seeded(encoding: Encoding) -> None:
    values = np.random.default_rng(1).normal(size=1000).astype(np.float32)
    assert encode(values, encoding) != encode(values, encoding)
    first, second = (encode(values, encoding, np.random.default_rng(7)) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("encoding", WHOLE)
def test_values_on_the_grid_come_out_as_they_were(encoding: Encoding) -> None:
    levels = LEVELS[encoding]
    values = np.resize(np.arange(-levels, levels + 1), 3 * GROUP).astype(np.float32) * 0.25
    np.testing.assert_array_equal(there_and_back(values, encoding), values)
    np.testing.assert_array_equal(there_and_back(np.zeros(300, np.float32), encoding), 0)


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(values=any_bits, ends=st.tuples(st.integers(0, 700), st.integers(0, 700)))
def test_any_stretch_decodes_to_that_part_of_the_whole(
    encoding: Encoding, values: NDArray[np.float32], ends: tuple[int, int]
) -> None:
    start, stop = sorted(min(end, values.size) for end in ends)
    content = encode(values, encoding, np.random.default_rng(1))
    whole = decode(lambda a, b: content[a:b], encoding, 0, values.size)
    found = decode(lambda a, b: content[a:b], encoding, start, stop)
    np.testing.assert_array_equal(bits(found), bits(whole[start:stop]))
    assert found.flags.writeable


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_stretch_is_read_without_the_rest(encoding: Encoding) -> None:
    content = encode(np.ones(100 * GROUP, np.float32), encoding)
    asked: list[tuple[int, int]] = []

    def read(start: int, stop: int) -> bytes:
        asked.append((start, stop))
        return content[start:stop]

    decode(read, encoding, 50 * GROUP, 51 * GROUP)
    size = encoded_size(GROUP, encoding)
    assert asked == [(50 * size, 51 * size)]


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(values=any_bits)
def test_what_is_not_finite_never_becomes_finite(
    encoding: Encoding, values: NDArray[np.float32]
) -> None:
    found = there_and_back(values, encoding)
    assert not np.any(np.isfinite(found) & ~np.isfinite(values))


@pytest.mark.parametrize("encoding", WHOLE)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_broken_value_spoils_its_group_and_no_other(encoding: Encoding, bad: float) -> None:
    values = np.ones(3 * GROUP, np.float32)
    values[GROUP + 5] = bad
    finite = np.isfinite(there_and_back(values, encoding)).reshape(3, GROUP)
    assert finite.all(axis=1).tolist() == [True, False, True]
    assert not finite[1].any()


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(values=any_bits)
def test_the_size_is_known_before(encoding: Encoding, values: NDArray[np.float32]) -> None:
    assert len(encode(values, encoding)) == encoded_size(values.size, encoding)


def test_a_model_takes_a_half_a_quarter_and_an_eighth_of_the_room() -> None:
    sizes = [encoded_size(2**20, encoding) for encoding in ENCODINGS]
    assert sizes == [4 * 2**20, 2 * 2**20, 2**20 + 2**14, 2**19 + 2**14]
