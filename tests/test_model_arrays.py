"""Arrays: one digest whatever the order, whole files or none, errors that name the tensor."""

import hashlib
import os
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.arrays import (
    Arrays,
    ShardHash,
    WrongModelFile,
    WrongTensor,
    check_same_tensors,
    digest_arrays,
    load_arrays,
    shard_digests,
)
from model.tensor_file import copy_tensors
from model.tensors import InMemory


def arrays() -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(1)
    return {
        "b.weight": rng.normal(size=(3, 4)).astype(np.float32),
        "a.bias": rng.normal(size=5).astype(np.float32),
        "scalar": np.array(2.0, dtype=np.float32),
        "empty": np.zeros((0, 3), dtype=np.float32),
    }


@given(order=st.permutations(sorted(arrays())))
def test_the_digest_does_not_depend_on_the_order_of_the_names(order: list[str]) -> None:
    assert digest_arrays({name: arrays()[name] for name in order}) == digest_arrays(arrays())


def test_the_digest_does_not_depend_on_the_memory_layout() -> None:
    weight = arrays()["b.weight"]
    fortran = {"w": np.asfortranarray(weight)}
    assert digest_arrays(fortran) == digest_arrays({"w": weight})


@pytest.mark.parametrize(
    "other",
    [
        {"w": np.array([1, 2, 3, 5], dtype=np.float32)},
        {"v": np.array([1, 2, 3, 4], dtype=np.float32)},
        {"w": np.array([[1, 2], [3, 4]], dtype=np.float32)},
        {"w": np.array([1, 2, 3, 4], dtype=np.float32), "x": np.zeros(0, dtype=np.float32)},
    ],
)
def test_another_value_name_shape_or_tensor_gives_another_digest(other: Arrays) -> None:
    first = {"w": np.array([1, 2, 3, 4], dtype=np.float32)}
    assert digest_arrays(first) != digest_arrays(other)


def test_the_digest_is_the_one_that_older_files_were_given() -> None:
    # Computed once with hashlib from the definition in the docstring of digest_arrays.
    digest = digest_arrays({"w": np.array([1.0, -2.0], dtype=np.float32)})
    assert digest == "4aedac1b67502aeefefc6dbccee02e07551ce67a2f5f1e40a94bfc680d717aa3"


@given(values=st.lists(st.integers(0, 40), min_size=1, max_size=4), step=st.integers(1, 50))
def test_hashing_while_writing_gives_the_digest_whatever_the_pieces(
    values: list[int], step: int
) -> None:
    tensors = {f"t{i}": np.arange(num, dtype=np.float32) for i, num in enumerate(values)}
    content = b"".join(tensors[name].tobytes() for name in sorted(tensors))
    with mock.patch("model.arrays.SHARD_VALUES", 8):
        written = ShardHash({name: array.shape for name, array in tensors.items()})
        for start in range(0, len(content), step):
            written.update(memoryview(content[start : start + step]))
        assert written.digest == digest_arrays(tensors) == digest_arrays(InMemory(tensors))
        assert written.shards == shard_digests(InMemory(tensors))


def test_shards_have_the_digests_of_their_bytes() -> None:
    tensors = {"a": np.arange(10, dtype=np.float32), "b": np.arange(3, dtype=np.float32)}
    with mock.patch("model.arrays.SHARD_VALUES", 8):
        shards = shard_digests(InMemory(tensors))
    content = b"".join(array.tobytes() for array in tensors.values())
    cuts = [content[:32], content[32:]]  # eight values of a; its other two, and b
    assert shards == tuple(hashlib.sha256(part).hexdigest() for part in cuts)


def test_saving_and_loading_gives_the_same_bits(tmp_path: Path) -> None:
    copy_tensors(tmp_path / "w.safetensors", arrays(), {"study": "demo"})
    assert digest_arrays(load_arrays(tmp_path / "w.safetensors")) == digest_arrays(arrays())


def test_a_transposed_view_is_saved_as_what_it_shows(tmp_path: Path) -> None:
    view = arrays()["b.weight"].T
    copy_tensors(tmp_path / "w.safetensors", {"w": view})
    np.testing.assert_array_equal(load_arrays(tmp_path / "w.safetensors")["w"], view)


def test_a_crash_before_the_rename_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "w.safetensors"
    copy_tensors(path, arrays())
    before = path.read_bytes()

    def crash(_source: Path, _target: Path) -> None:
        raise OSError("power cut")

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(OSError, match="power cut"):
        copy_tensors(path, {"w": np.zeros(3, dtype=np.float32)})
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["w.safetensors"]


def test_a_file_is_on_the_disk_before_it_takes_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    real_sync, real_replace = os.fsync, os.replace

    def sync(descriptor: int) -> None:
        events.append("sync")
        real_sync(descriptor)

    def replace(source: Path, target: Path) -> None:
        events.append("rename")
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", replace)
    copy_tensors(tmp_path / "w.safetensors", arrays())
    assert events == ["sync", "rename", "sync"]


@pytest.mark.parametrize("keep", [0, 4, 40, -1])
def test_a_truncated_file_is_refused_in_one_sentence(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "w.safetensors"
    copy_tensors(path, arrays())
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(WrongModelFile, match="is not a complete safetensors file: copy it again"):
        load_arrays(path)


def test_a_pickle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(np.array([{}], dtype=object).dumps())
    with pytest.raises(WrongModelFile, match="is not a complete safetensors file"):
        load_arrays(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongModelFile, match="does not exist"):
        load_arrays(tmp_path / "none.safetensors")


def test_a_file_of_half_precision_is_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"w": np.zeros(3, dtype=np.float16)}, tmp_path / "w.safetensors")
    with pytest.raises(WrongModelFile, match="not float32"):
        load_arrays(tmp_path / "w.safetensors")


def test_the_same_tensors_pass() -> None:
    check_same_tensors(arrays(), {name: array.shape for name, array in arrays().items()})


def test_a_wrong_shape_is_named_with_both_shapes() -> None:
    found = {"w": np.zeros((3, 4), dtype=np.float32)}
    with pytest.raises(WrongTensor, match=r"tensor w is float32 \(3, 4\), expected float32 \(4,\)"):
        check_same_tensors(found, {"w": (4,)})


def test_a_missing_tensor_is_named() -> None:
    with pytest.raises(WrongTensor, match=r"tensor w is missing, expected float32 \(4,\)"):
        check_same_tensors({}, {"w": (4,)})


def test_an_unexpected_tensor_is_named() -> None:
    with pytest.raises(WrongTensor, match=r"tensor w is float32 \(2,\), expected no such tensor"):
        check_same_tensors({"w": np.zeros(2, dtype=np.float32)}, {})


def test_another_dtype_is_named() -> None:
    with pytest.raises(WrongTensor, match=r"tensor w is float64 \(2,\), expected float32 \(2,\)"):
        check_same_tensors({"w": np.zeros(2)}, {"w": (2,)})


@pytest.mark.parametrize("metadata", [{}, {"study": "none"}])
def test_a_file_without_tensors_can_be_read_back(tmp_path: Path, metadata: dict[str, str]) -> None:
    copy_tensors(tmp_path / "empty.safetensors", {}, metadata)
    assert load_arrays(tmp_path / "empty.safetensors") == {}
