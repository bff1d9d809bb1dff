"""Parcels: the same tensors come out of the shards, wherever they lie and however they are read."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import save_file

from federation.encoding import Encoding
from federation.parcel import (
    NotTheParcel,
    Parcel,
    Unpacked,
    pack,
    pack_inline,
    parcel_of,
    shard_path,
    shards_in_file,
    shards_in_folder,
    shards_in_memory,
)
from model.arrays import digest_arrays
from model.tensor_file import TensorFile, copy_tensors
from model.tensors import InMemory, Piece, Shapes, pieces_of

ENCODINGS: tuple[Encoding, ...] = ("fp32", "bf16", "int8", "int4")
sides = st.lists(st.integers(0, 9), max_size=3).map(tuple)
some_shapes = st.dictionaries(st.text("ab.", min_size=1, max_size=3), sides, max_size=5)


def drawn(shapes: Shapes, seed: int = 1) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    return {name: np.asarray(rng.normal(size=shapes[name]), np.float32) for name in shapes}


SHAPES = {"a": (20, 30), "b": (), "c": (0, 3), "d": (1000,), "e": (3, 5)}
ARRAYS = drawn(SHAPES)


@given(some_shapes, st.integers(1, 40), st.integers(1, 40))
def test_every_tensor_comes_out_as_it_went_in(shapes: Shapes, shard: int, limit: int) -> None:
    arrays = drawn(shapes)
    parcel, content = pack_inline(InMemory(arrays), "fp32", shard_values=shard)
    found = Unpacked(parcel, shards_in_memory(parcel, content))
    assert digest_arrays(found) == digest_arrays(arrays)
    for piece in pieces_of(shapes, max_values=limit):
        flat = arrays[piece.name].reshape(-1)[piece.start : piece.stop]
        np.testing.assert_array_equal(found.piece(piece), flat)


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(ends=st.tuples(st.integers(0, 1000), st.integers(0, 1000)))
def test_any_piece_is_the_part_of_its_decoded_tensor(
    encoding: Encoding, ends: tuple[int, int]
) -> None:
    parcel, content = pack_inline(
        InMemory(ARRAYS), encoding, shard_values=300, rng=np.random.default_rng(1)
    )
    found = Unpacked(parcel, shards_in_memory(parcel, content))
    start, stop = sorted(ends)
    piece = found.piece(Piece(name="d", start=start, stop=stop))
    np.testing.assert_array_equal(piece, found["d"][start:stop])


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_file_and_memory_hold_the_same_shards(encoding: Encoding, tmp_path: Path) -> None:
    rngs = np.random.default_rng(1), np.random.default_rng(1)
    in_file = pack(tmp_path / "p", InMemory(ARRAYS), encoding, shard_values=256, rng=rngs[0])
    in_memory, content = pack_inline(InMemory(ARRAYS), encoding, shard_values=256, rng=rngs[1])
    assert in_file == in_memory
    assert (tmp_path / "p").read_bytes() == content
    assert in_file.num_bytes == len(content)


def places(parcel: Parcel, content: bytes, folder: Path) -> dict[str, Unpacked]:
    """The same parcel, read from wherever its shards may lie."""
    (folder / "file").write_bytes(b"before" + content)
    read = shards_in_memory(parcel, content)
    for number, size in enumerate(parcel.sizes):
        shard_path(folder, number).write_bytes(read(number, 0, size))
    readers = (shards_in_file(parcel, folder / "file", start=6), shards_in_folder(folder), read)
    return {str(number): Unpacked(parcel, reader) for number, reader in enumerate(readers)}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_shards_may_lie_in_a_file_in_a_folder_or_in_memory(
    encoding: Encoding, tmp_path: Path
) -> None:
    parcel, content = pack_inline(InMemory(ARRAYS), encoding, shard_values=256)
    digests = {digest_arrays(found) for found in places(parcel, content, tmp_path).values()}
    assert len(digests) == 1
    assert (digests == {digest_arrays(ARRAYS)}) == (encoding == "fp32")


def test_each_shard_is_named_by_the_digest_of_its_bytes() -> None:
    parcel, content = pack_inline(InMemory(ARRAYS), "int8", shard_values=256)
    read = shards_in_memory(parcel, content)
    shards = [read(number, 0, size) for number, size in enumerate(parcel.sizes)]
    assert b"".join(shards) == content
    assert parcel.digests == tuple(hashlib.sha256(shard).hexdigest() for shard in shards)


@pytest.mark.parametrize("shard_values", [1, 7, 256, 10_000])
def test_a_file_of_tensors_is_a_parcel_as_it_lies(shard_values: int, tmp_path: Path) -> None:
    copy_tensors(tmp_path / "w", ARRAYS, {"study": "demo"})
    file = TensorFile(tmp_path / "w")
    parcel = parcel_of(file, shard_values=shard_values)
    assert parcel == pack_inline(InMemory(ARRAYS), "fp32", shard_values=shard_values)[0]
    found = Unpacked(parcel, shards_in_file(parcel, file.path, start=file.data_start))
    assert digest_arrays(found) == digest_arrays(ARRAYS)


def test_a_file_in_another_order_is_no_parcel_as_it_lies(tmp_path: Path) -> None:
    lying = b'{"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
    lying += b'"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}'
    (tmp_path / "w").write_bytes(len(lying).to_bytes(8, "little") + lying + bytes(8))
    with pytest.raises(ValueError, match="in order of name"):
        parcel_of(TensorFile(tmp_path / "w"))
    save_file({"b": np.zeros(1, np.float32), "a": np.zeros(1, np.float32)}, tmp_path / "v")
    assert parcel_of(TensorFile(tmp_path / "v")).shapes == {"a": (1,), "b": (1,)}


PARCEL = pack_inline(InMemory(ARRAYS), "fp32", shard_values=256)[0]
OTHERS: dict[str, Callable[[], Parcel]] = {
    "another bit": lambda: replace(PARCEL, digests=("0" * 64, *PARCEL.digests[1:])),
    "two shards changed about": lambda: replace(
        PARCEL, digests=(PARCEL.digests[1], PARCEL.digests[0], *PARCEL.digests[2:])
    ),
    "another name": lambda: replace(
        PARCEL, shapes={("A" if name == "a" else name): SHAPES[name] for name in SHAPES}
    ),
    "another shape": lambda: replace(PARCEL, shapes=SHAPES | {"a": (30, 20)}),
    "another encoding": lambda: replace(PARCEL, encoding="bf16"),
}


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS.keys())
def test_another_parcel_has_another_digest(change: Callable[[], Parcel]) -> None:
    assert change().digest != PARCEL.digest
    assert replace(PARCEL, shapes=dict(reversed(SHAPES.items()))).digest == PARCEL.digest


@pytest.mark.parametrize(
    "digests", [PARCEL.digests[:-1], (*PARCEL.digests, "0" * 64), ()], ids=["less", "more", "none"]
)
def test_a_parcel_with_more_or_fewer_digests_than_shards_is_none(digests: tuple[str, ...]) -> None:
    with pytest.raises(NotTheParcel):
        replace(PARCEL, digests=digests)


def test_a_description_of_more_than_the_shards_can_hold_is_refused_before_it_is_cut() -> None:
    with pytest.raises(NotTheParcel, match="cannot hold"):
        Parcel(shapes={"a": (2**40, 2**10)}, encoding="fp32", digests=("0" * 64,), shard_values=1)
    with pytest.raises(NotTheParcel, match="cannot hold"):
        Parcel(shapes={}, encoding="fp32", digests=(), shard_values=0)


def test_shards_that_are_cut_short_are_not_the_parcel(tmp_path: Path) -> None:
    parcel = pack(tmp_path / "p", InMemory(ARRAYS), "int4", shard_values=256)
    whole = (tmp_path / "p").read_bytes()
    (tmp_path / "p").write_bytes(whole[:-1])
    with pytest.raises(NotTheParcel, match="is cut short"):
        digest_arrays(Unpacked(parcel, shards_in_file(parcel, tmp_path / "p")))


def test_packing_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    class Broken(InMemory):
        """Cannot be read to its end."""

        def piece(self, piece: Piece) -> NDArray[np.float32]:
            if piece.name == "e":
                raise OSError("disk")
            return super().piece(piece)

    (tmp_path / "p").write_bytes(b"old")
    with pytest.raises(OSError, match="disk"):
        pack(tmp_path / "p", Broken(ARRAYS), "fp32", shard_values=256)
    assert (tmp_path / "p").read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [tmp_path / "p"]
