"""What hospitals are asked in a round, and the tensors that go with it: inside the message, or to be fetched."""

from dataclasses import replace

from federation.config import study_json
from federation.messages import Instruction, Shipment, Step
from federation.shipment import shipment_of
from model.tensor_file import TensorFile
from model.tensors import Tensors
from server.round_files import STEP
from server.sites import LASTING, Sites
from server.state import GlobalState
from server.store import StudyStore

EVERYTHING_INSIDE = 2**62
"""Bytes that a message may hold where nothing can travel beside it."""


def instruct(store: StudyStore, state: GlobalState, sites: Sites) -> Instruction:
    """What every hospital is asked; tensors that are too large for a message can be fetched."""
    number = state.round_number + 1
    weights = ship(store, sites, state.weights, state.digest, shards=state.shards, number=number)
    if state.step is not None and weights.content is None:
        folder = store.round_path(state.round_number)
        sites.publish(state.step.parcel, folder / STEP, 0, number=number)
        step = Step(from_digest=state.step.from_digest, parcel=state.step.parcel)
        weights = replace(weights, step=step)
    return Instruction(
        study=study_json(store.study),
        round_number=number,
        weights=weights,
        base=None
        if state.base is None
        else ship(store, sites, state.base, state.base_digest, number=LASTING),
    )


def ship(
    store: StudyStore,
    sites: Sites,
    tensors: Tensors,
    digest: str,
    *,
    shards: tuple[str, ...] = (),
    number: int,
) -> Shipment:
    """Tensors that lie in a file, inside the message or to be fetched."""
    if not isinstance(tensors, TensorFile):
        raise TypeError("only what lies in a file can be sent")
    transport = store.study.transport
    if not sites.carries_shards:
        transport = replace(transport, inline_bytes=EVERYTHING_INSIDE)
    shipment = shipment_of(tensors, transport, digest=digest, shards=shards)
    if shipment.content is None:
        sites.publish(shipment.parcel, tensors.path, tensors.data_start, number=number)
    return shipment
