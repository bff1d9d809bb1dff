"""What a private round may send: what is on the list of its stage, and nothing beside it."""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from client.leaving import WouldLeak, check_leaves
from federation.messages import Update
from federation.parcel import Parcel
from federation.shipment import inline_shipment
from model.tensors import Piece, Shapes, Tensors
from privacy.ledger.chain import Head
from tests.toys.private_hospital import (
    FULL,
)


class Unchecked(Tensors):
    """Arrays of any kind."""

    def __init__(self, arrays: Mapping[str, NDArray[np.floating]]) -> None:
        self._arrays = arrays

    @property
    def shapes(self) -> Shapes:
        """As the arrays have them."""
        return {name: array.shape for name, array in self._arrays.items()}

    def piece(self, piece: Piece) -> NDArray[np.float32]:
        """Whatever the array holds."""
        return np.ravel(self._arrays[piece.name])[piece.start : piece.stop]


def parcel_of_two(name: str) -> Parcel:
    return inline_shipment({name: np.zeros(2, np.float32)}).parcel


@pytest.mark.parametrize(
    "more",
    [
        {"held_out_loss": 0.5},
        {"loss": 0.5},
        {"seconds": 1.0},
        {"num_records": 3},
        {"num_files": 3},
        {"ledger": None},
        {"change": parcel_of_two("patients")},
    ],
)
def test_what_is_not_on_the_list_does_not_leave(more: dict[str, object]) -> None:
    change = Unchecked({"w": np.zeros(2, np.float32)})
    update = Update(
        study_digest="s",
        round_number=1,
        received_digest="r",
        change=parcel_of_two("w"),
        norm=0.0,
        num_steps=2,
        loss=math.nan,
        held_out_loss=math.nan,
        seconds=0.0,
        num_records=0,
        num_files=0,
        ledger=Head(count=1, digest="0" * 64),
    )
    check_leaves(update, change, FULL, frozenset({"w"}))
    with pytest.raises(WouldLeak, match="nothing is sent"):
        check_leaves(
            replace(update, **more),  # type: ignore[arg-type]
            change,
            FULL,
            frozenset({"w"}),
        )
    others: list[dict[str, NDArray[np.floating]]] = [
        {"patients": np.zeros(2, np.float32)},
        {"w": np.zeros(2, np.float64)},
        {"w": np.zeros(3, np.float32)},
        {},
    ]
    for other in others:
        with pytest.raises(WouldLeak, match="nothing is sent"):
            check_leaves(update, Unchecked(other), FULL, frozenset({"w"}))
