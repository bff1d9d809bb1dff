"""A change on its way: what the coordinator reads of it, and that nothing is lost to rounding for good."""

import math
from pathlib import Path

import numpy as np
import pytest

from client.packing import CHANGE, RESIDUAL, Packed, pack_change
from federation.config import Transport
from federation.encoding import Encoding
from federation.parcel import Unpacked, shards_in_file
from model.arrays import Arrays, digest_arrays
from model.tensor_file import TensorFile
from model.tensors import InMemory, Tensors, as_tensors

NOTHING = InMemory({})
INT4 = Transport(upload="int4", shard_values=512)


def arrays(seed: int, *names: str) -> Arrays:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=(3, 300)).astype(np.float32) for name in names or ("a", "b")}


def said(folder: Path, packed: Packed) -> Tensors:
    """What the coordinator reads."""
    return Unpacked(packed.parcel, shards_in_file(packed.parcel, folder / CHANGE))


def test_without_rounding_every_bit_arrives_and_nothing_is_remembered(tmp_path: Path) -> None:
    packed = pack_change(tmp_path, as_tensors(arrays(1)), Transport(), earlier=None)
    assert digest_arrays(said(tmp_path, packed)) == digest_arrays(arrays(1))
    assert [path.name for path in tmp_path.iterdir()] == [CHANGE]


@pytest.mark.parametrize("encoding", ["fp32", "bf16", "int8", "int4"])
def test_the_norm_is_of_what_the_coordinator_reads(tmp_path: Path, encoding: Encoding) -> None:
    transport = Transport(upload=encoding, shard_values=512)
    packed = pack_change(tmp_path, as_tensors(arrays(1)), transport, earlier=None)
    squares = [np.square(tensor.astype(float)).sum() for tensor in said(tmp_path, packed).values()]
    assert packed.norm == pytest.approx(math.sqrt(sum(squares)), rel=1e-12)


def test_what_rounding_took_is_the_change_and_what_was_left_over_before_less_what_was_said(
    tmp_path: Path,
) -> None:
    change, before = arrays(1), arrays(2)
    packed = pack_change(tmp_path, as_tensors(change), INT4, earlier=as_tensors(before))
    decoded, residual = said(tmp_path, packed), TensorFile(tmp_path / RESIDUAL)
    for name, tensor in change.items():
        np.testing.assert_array_equal(residual[name], (tensor + before[name]) - decoded[name])
        assert np.abs(residual[name]).max() > 0


def test_over_many_rounds_all_of_it_arrives(tmp_path: Path) -> None:
    """Sent alone, a step of a hundredth of the largest value is lost or far too large in any one round."""
    change = {"a": np.linspace(0, 1, 256, dtype=np.float32)}
    residual: Tensors = NOTHING
    total = np.zeros(256)
    for number in range(40):
        folder = tmp_path / str(number)
        folder.mkdir()
        packed = pack_change(folder, as_tensors(change), INT4, earlier=residual)
        total += said(folder, packed)["a"]
        residual = TensorFile(folder / RESIDUAL)
    largest_step = 2.0 / 7  # of one group: change and residual are both at most about 1
    np.testing.assert_allclose(total, 40 * change["a"], atol=largest_step)
    np.testing.assert_allclose(total + residual["a"], 40 * change["a"].astype(float), atol=1e-4)


def test_a_tensor_that_rests_keeps_what_rounding_took_from_it(tmp_path: Path) -> None:
    before = arrays(2, "a", "b")
    pack_change(tmp_path, as_tensors(arrays(1, "a")), INT4, earlier=as_tensors(before))
    residual = TensorFile(tmp_path / RESIDUAL)
    np.testing.assert_array_equal(residual["b"], before["b"])
    assert not np.array_equal(residual["a"], before["a"])


def test_a_change_that_is_not_finite_does_not_spoil_the_rounds_after_it(tmp_path: Path) -> None:
    change = arrays(1, "a")
    change["a"][0, 0] = np.nan
    packed = pack_change(tmp_path, as_tensors(change), INT4, earlier=NOTHING)
    assert not math.isfinite(packed.norm)
    assert np.isfinite(TensorFile(tmp_path / RESIDUAL)["a"]).all()
