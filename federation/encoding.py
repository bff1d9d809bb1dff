"""How values travel: as they are, as bfloat16, or as small whole numbers with one scale per 256 values.

Whole numbers are rounded up or down at random so that their mean is the value (stochastic rounding, as in QSGD,
Alistarh et al. 2017, https://arxiv.org/abs/1610.02132). Every 256 values can be decoded by themselves.
"""

import os
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Encoding = Literal["fp32", "bf16", "int8", "int4"]
Read = Callable[[int, int], bytes]
"""(first byte, one past the last) -> those bytes."""

GROUP = 256
"""Values that share one scale."""
LEVELS = {"int8": 127, "int4": 7}
"""Largest whole number of each encoding."""
GROUP_BYTES = {"fp32": 4 * GROUP, "bf16": 2 * GROUP, "int8": 4 + GROUP, "int4": 4 + GROUP // 2}


def encoded_size(num_values: int, encoding: Encoding) -> int:
    """Bytes of a run of values; whole numbers are padded to whole groups."""
    if encoding in LEVELS:
        return -(-num_values // GROUP) * GROUP_BYTES[encoding]
    return num_values * GROUP_BYTES[encoding] // GROUP


def encode(
    values: NDArray[np.float32], encoding: Encoding, rng: np.random.Generator | None = None
) -> bytes:
    """Flat values as bytes.

    Args:
        values: any number of them; what is not finite stays so, or spoils its group of 256.
        encoding: ``fp32`` keeps every bit.
        rng: for stochastic rounding; the operating system's entropy by default.
    """
    if encoding == "fp32":
        return np.ascontiguousarray(values, dtype="<f4").tobytes()
    if encoding == "bf16":
        return _bf16(values).tobytes()
    rng = rng or np.random.default_rng(int.from_bytes(os.urandom(16), "big"))
    return _grouped(values, encoding, rng)


def decode(read: Read, encoding: Encoding, start: int, stop: int) -> NDArray[np.float32]:
    """Values ``start`` to ``stop`` of an encoded run, flat; they may be written to."""
    if encoding == "fp32":
        return np.frombuffer(read(4 * start, 4 * stop), "<f4").copy()
    if encoding == "bf16":
        halves = np.zeros((stop - start, 2), "<u2")
        halves[:, 1] = np.frombuffer(read(2 * start, 2 * stop), "<u2")
        return halves.view("<f4").reshape(-1)
    first, last = start // GROUP, -(-stop // GROUP)
    size = GROUP_BYTES[encoding]
    groups = np.frombuffer(read(first * size, last * size), _record(encoding))
    whole = groups["value"] if encoding == "int8" else _nibbles(groups["value"])
    with np.errstate(invalid="ignore", over="ignore"):  # a spoilt scale spoils the group
        values: NDArray[np.float32] = whole * groups["scale"][:, None]
    return values.reshape(-1)[start - first * GROUP : stop - first * GROUP]


def _bf16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Nearest bfloat16, ties to even."""
    bits = np.ascontiguousarray(values, dtype="<f4").view("<u4")
    rounded = bits >> 16
    rounded &= 1
    rounded += 0x7FFF
    rounded += bits  # runs over for some NaN only
    halves = rounded.view("<u2")[1::2]
    halves[np.isnan(values)] = 0x7FC0
    return halves


def _grouped(values: NDArray[np.float32], encoding: Encoding, rng: np.random.Generator) -> bytes:
    padded = np.zeros(-(-values.size // GROUP) * GROUP, np.float32)
    padded[: values.size] = values
    rows = padded.reshape(-1, GROUP)
    levels = LEVELS[encoding]
    scale = np.abs(rows).max(axis=1) / np.float32(levels)
    usable = np.isfinite(scale) & (scale > 0)
    rows[~usable] = 0  # what the scale says is then all there is to say: zero, or not finite
    rows /= np.where(usable, scale, np.float32(1))[:, None]
    rows += rng.random(rows.shape, dtype=np.float32)
    np.floor(rows, out=rows)
    whole = np.clip(rows, -levels, levels, out=rows).astype(np.int8)
    groups = np.zeros(len(rows), _record(encoding))
    groups["scale"] = scale
    groups["value"] = whole if encoding == "int8" else _packed(whole)
    return groups.tobytes()


def _record(encoding: Encoding) -> np.dtype[np.void]:
    """One group: its scale, then its whole numbers."""
    if encoding == "int8":
        return np.dtype([("scale", "<f4"), ("value", "i1", (GROUP,))])
    return np.dtype([("scale", "<f4"), ("value", "u1", (GROUP // 2,))])


def _packed(whole: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Two numbers of four bits to a byte, the first in the lower half."""
    bits = (whole & 0x0F).astype(np.uint8)
    return bits[:, 0::2] | (bits[:, 1::2] << np.uint8(4))


def _nibbles(packed: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Numbers of four bits in two's complement, the lower half of each byte first."""
    whole = np.empty((len(packed), GROUP), np.int8)
    whole[:, 0::2] = packed & 0x0F
    whole[:, 1::2] = packed >> 4
    whole ^= 8
    whole -= 8
    return whole
