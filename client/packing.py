"""A finished change made ready for its way: encoded into shards, and what rounding took kept for the next round."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from client.sums import Sum
from federation.config import Transport
from federation.parcel import Parcel, Unpacked, pack, shards_in_file
from model.tensor_file import write_tensors
from model.tensors import Shapes, Tensors, pieces_of

CHANGE, RESIDUAL = "change.shards", "residual.safetensors"


@dataclass(frozen=True, kw_only=True, slots=True)
class Packed:
    """What was written."""

    parcel: Parcel
    norm: float
    """L2 norm of what the shards say."""


def pack_change(
    folder: Path, change: Tensors, transport: Transport, *, earlier: Tensors | None
) -> Packed:
    """Write a change's shards and, where rounding is coarse, what it took.

    With error feedback (Seide et al. 2014, Karimireddy et al. 2019, https://arxiv.org/abs/1901.09847) what rounding
    took from one round's change is added to the next one's. It is made of changes alone, so in a private study of what
    is noised and charged already: it tells nothing that the changes would not.

    Args:
        folder: Where the files shall be.
        change: Of the tensors that trained.
        transport: The study's.
        earlier: What rounding took before, also of tensors that rest; None if nothing is to be remembered.
    """
    total = change if earlier is None else Sum(change, earlier)
    path = folder / CHANGE
    parcel = pack(path, total, transport.upload, shard_values=transport.shard_values)
    decoded = Unpacked(parcel, shards_in_file(parcel, path))
    if earlier is not None:
        _write_residual(folder / RESIDUAL, total, decoded, earlier)
    return Packed(parcel=parcel, norm=_norm(decoded))


def _write_residual(path: Path, total: Tensors, decoded: Tensors, earlier: Tensors) -> None:
    """What rounding took of the tensors that trained, and as it was of those that rested."""
    rested = {name: shape for name, shape in earlier.shapes.items() if name not in total.shapes}
    shapes: Shapes = {**rested, **total.shapes}
    with write_tensors(path, shapes) as writer:
        for piece in pieces_of(shapes):
            if piece.name in rested:
                writer.put(piece, earlier.piece(piece))
            else:
                with np.errstate(invalid="ignore"):
                    taken = total.piece(piece) - decoded.piece(piece)
                # A change that is not finite is refused; the rounds after it shall not be.
                writer.put(piece, np.where(np.isfinite(taken), taken, np.float32(0)))


def _norm(tensors: Tensors) -> float:
    total = 0.0
    for piece in pieces_of(tensors.shapes):
        total += float(np.square(tensors.piece(piece), dtype=np.float64).sum())
    return float(np.sqrt(total))
