"""Tensors made ready for a message, and opened again: inside it where they are few bytes."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from federation.config import Transport
from federation.messages import Shipment
from federation.parcel import (
    NotTheParcel,
    Parcel,
    Unpacked,
    pack_inline,
    parcel_of,
    shards_in_file,
    shards_in_memory,
)
from model.arrays import Arrays, digest_arrays
from model.tensor_file import TensorFile
from model.tensors import SHARD_VALUES, Tensors, as_tensors


def inline_shipment(arrays: Arrays) -> Shipment:
    """Arrays that travel inside the message, however many they are."""
    parcel, content = pack_inline(as_tensors(arrays), "fp32")
    return Shipment(digest=digest_arrays(arrays), parcel=parcel, content=content)


def shipment_of(
    file: TensorFile, transport: Transport, *, digest: str, shards: Sequence[str] = ()
) -> Shipment:
    """A file's tensors, inside the message if the study lets so many bytes travel there.

    Args:
        file: written in order of name.
        transport: the study's.
        digest: of the tensors (``digest_arrays``).
        shards: what ``shard_digests`` gives for them; empty if that is not known, then the file is read.
    """
    if shards and transport.shard_values == SHARD_VALUES:
        parcel = Parcel(shapes=dict(file.shapes), encoding="fp32", digests=tuple(shards))
    else:
        parcel = _parcel_of(file.path, digest, transport.shard_values)
    if parcel.num_bytes > transport.inline_bytes:
        return Shipment(digest=digest, parcel=parcel)
    read = shards_in_file(parcel, file.path, start=file.data_start)
    content = b"".join(read(number, 0, size) for number, size in enumerate(parcel.sizes))
    return Shipment(digest=digest, parcel=parcel, content=content)


@lru_cache(maxsize=2)
def _parcel_of(path: Path, _: str, shard_values: int) -> Parcel:
    """The parcel that a file is. The frozen model under an adapter is described in every round and read once."""
    return parcel_of(TensorFile(path), shard_values=shard_values)


def open_inline(shipment: Shipment) -> Tensors:
    """The tensors that a shipment brought inside the message.

    Raises:
        NotTheParcel: nothing is inside, or it is not what the description says.
    """
    if shipment.content is None:
        raise NotTheParcel("the tensors do not travel inside this message")
    return open_content(shipment.parcel, shipment.content)


def open_content(parcel: Parcel, content: bytes) -> Tensors:
    """The tensors of shards that lie one after the other in memory.

    Raises:
        NotTheParcel: they are not what the description says.
    """
    if len(content) != parcel.num_bytes:
        raise NotTheParcel(f"{len(content)} bytes came, {parcel.num_bytes} are described")
    read = shards_in_memory(parcel, content)
    for number, size in enumerate(parcel.sizes):
        if hashlib.sha256(read(number, 0, size)).hexdigest() != parcel.digests[number]:
            raise NotTheParcel(f"shard {number} is not what its digest says")
    return Unpacked(parcel, read)
