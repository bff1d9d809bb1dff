"""Shipments: few bytes travel inside the message, many beside it, and what came is what was described."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from federation.config import Transport
from federation.messages import Shipment
from federation.parcel import NotTheParcel
from federation.shipment import inline_shipment, open_inline, shipment_of
from model.arrays import WrongModelFile, digest_arrays, shard_digests
from model.tensor_file import TensorFile, copy_tensors
from model.tensors import InMemory

ARRAYS = {
    "b": np.arange(12, dtype=np.float32).reshape(3, 4),
    "a": np.array(2.0, np.float32),
    "c": np.zeros((0, 2), np.float32),
}
BYTES = 4 * 13


def shipment(folder: Path, *, inline_bytes: int) -> Shipment:
    digest = copy_tensors(folder / "w", ARRAYS)
    transport = Transport(inline_bytes=inline_bytes, shard_values=5)
    return shipment_of(TensorFile(folder / "w"), transport, digest=digest)


def test_known_digests_of_shards_describe_a_file_without_reading_it(tmp_path: Path) -> None:
    tensors = {"w": np.arange(12, dtype=np.float32)}
    digest = copy_tensors(tmp_path / "w", tensors)
    file, beside = TensorFile(tmp_path / "w"), Transport(inline_bytes=0)
    read = shipment_of(file, beside, digest=digest)
    file.path.write_bytes(b"")
    known = shipment_of(file, beside, digest=digest, shards=shard_digests(InMemory(tensors)))
    assert known == read
    assert known.parcel.tensors_digest == digest


def test_arrays_come_out_as_they_went_in() -> None:
    found = inline_shipment(ARRAYS)
    assert found.digest == digest_arrays(ARRAYS) == digest_arrays(open_inline(found))
    assert {name: array.shape for name, array in open_inline(found).items()} == {
        name: array.shape for name, array in ARRAYS.items()
    }


def test_a_file_up_to_the_limit_travels_inside(tmp_path: Path) -> None:
    found = shipment(tmp_path, inline_bytes=BYTES)
    assert digest_arrays(open_inline(found)) == found.digest == digest_arrays(ARRAYS)
    assert len(found.parcel.digests) == 3
    assert found.ticket is None
    assert found.step is None


def test_a_larger_file_travels_beside(tmp_path: Path) -> None:
    found = shipment(tmp_path, inline_bytes=BYTES - 1)
    assert found.content is None
    assert found.parcel == shipment(tmp_path, inline_bytes=BYTES).parcel
    with pytest.raises(NotTheParcel, match="do not travel inside"):
        open_inline(found)


def test_tensors_that_are_sent_in_every_round_are_read_for_the_first_one_alone(
    tmp_path: Path,
) -> None:
    first = shipment(tmp_path, inline_bytes=0)
    file = TensorFile(tmp_path / "w")
    file.path.unlink()
    transport = Transport(inline_bytes=0, shard_values=5)
    assert shipment_of(file, transport, digest=first.digest) == first
    with pytest.raises(WrongModelFile):
        shipment_of(file, transport, digest=64 * "0")


def test_what_came_in_another_length_is_refused() -> None:
    good = inline_shipment(ARRAYS)
    assert good.content is not None
    for content in (b"", good.content[:-1], good.content + b"\0"):
        with pytest.raises(NotTheParcel, match=f"{len(content)} bytes came, {BYTES} are described"):
            open_inline(replace(good, content=content))


def test_a_bit_that_tipped_on_the_way_is_found() -> None:
    good = inline_shipment(ARRAYS)
    assert good.content is not None
    for place in range(BYTES):
        content = bytearray(good.content)
        content[place] ^= 1
        with pytest.raises(NotTheParcel, match="shard 0 is not what its digest says"):
            open_inline(replace(good, content=bytes(content)))
