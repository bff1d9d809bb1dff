"""Whatever arrives, it is read or refused in words: no other exception, and nothing half read."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.messages import (
    CountsRequest,
    Delivered,
    DeliveryRequest,
    Instruction,
    Refusal,
    RefusalCode,
    Step,
    Ticket,
    Update,
)
from federation.parcel import pack_inline
from federation.shipment import inline_shipment
from federation.wire.counts import pack_counts_request, unpack_counts, unpack_counts_request
from federation.wire.deliveries import (
    pack_delivery,
    pack_delivery_request,
    unpack_delivery,
    unpack_delivery_request,
)
from federation.wire.header import PROTOCOL, ProtocolMismatch, Unreadable
from federation.wire.rounds import (
    pack_answer,
    pack_instruction,
    unpack_answer,
    unpack_instruction,
)
from model.tensors import InMemory

DIGEST = "a" * 64
SHIPMENT = inline_shipment({"w": np.ones((2, 3), np.float32)})
PARCEL, CONTENT = pack_inline(InMemory({"w": np.ones((2, 3), np.float32)}), "int8")
TICKET = Ticket(links=("/blobs/x/0",), token="", expires=1)
FULL = replace(SHIPMENT, ticket=TICKET, step=Step(from_digest=DIGEST, parcel=PARCEL, ticket=TICKET))
INSTRUCTION = Instruction(study="{}", round_number=1, weights=FULL, base=FULL)
UPDATE = Update(
    study_digest=DIGEST,
    round_number=1,
    received_digest=DIGEST,
    change=PARCEL,
    content=CONTENT,
    norm=2.0,
    num_steps=2,
    loss=0.5,
    held_out_loss=0.25,
    seconds=1.0,
    num_records=3,
    num_files=4,
)
DELIVERY = DeliveryRequest(
    study_digest=DIGEST, round_number=1, parcel_digest=DIGEST, shards=(0,), ticket=TICKET
)
COUNTS = CountsRequest(findings=("edema", "fracture"), pairs=(("sex", "edema"),))
GOOD: dict[str, Callable[[], RecordDict]] = {
    "instruction": lambda: pack_instruction(INSTRUCTION),
    "update": lambda: pack_answer(UPDATE),
    "refusal": lambda: pack_answer(Refusal(code=RefusalCode.STUDY, reason="x")),
    "request": lambda: pack_delivery_request(DELIVERY),
    "delivered": lambda: pack_delivery(Delivered(parcel_digest=DIGEST)),
    "counts": lambda: pack_counts_request(COUNTS),
}
SIDES: tuple[tuple[Callable[[RecordDict], object], Callable[..., RecordDict]], ...] = (
    (unpack_instruction, pack_instruction),
    (unpack_answer, pack_answer),
    (unpack_delivery_request, pack_delivery_request),
    (unpack_delivery, pack_delivery),
    (unpack_counts_request, pack_counts_request),
)

texts = st.sampled_from(
    ['{"w":[6]}', '{"w":[2,3]}', "{}", "[]", '{"w":[1e9]}', '{"w":[-1]}', DIGEST, "fp32", "1 " + DIGEST]
) | st.text(max_size=8)  # fmt: skip
wholes = st.integers(-(2**63), 2**64 - 1) | st.integers(-1, 9)
blobs = st.binary(max_size=70) | st.sampled_from([b"x" * 24, b"x" * 32, b"x" * 64])
values = (
    texts
    | wholes
    | st.floats()
    | st.booleans()
    | blobs
    | st.lists(texts, max_size=3)
    | st.lists(wholes, max_size=3)
    | st.lists(st.floats(), max_size=3)
)
stypes = st.sampled_from(["shards", "safetensors", "numpy.ndarray"])
arrays = st.builds(
    lambda content, stype: Array(dtype="u1", shape=(len(content),), stype=stype, data=content),
    blobs,
    stypes,
)
parts = (
    st.dictionaries(st.sampled_from(["tensors", "w"]), arrays, max_size=2).map(ArrayRecord)
    | st.dictionaries(st.text(max_size=3), values, max_size=2).map(
        lambda fields: ConfigRecord({**fields})
    )
    | st.builds(lambda: MetricRecord({"a": 1}))
)


def damage(record: RecordDict, data: st.DataObject) -> None:
    """One part less or other, or one field of a part."""
    part = data.draw(st.sampled_from(sorted(record)))
    kind = data.draw(st.sampled_from(["field", "less", "part", "gone"]))
    fields = record.config_records.get(part)
    if not fields or kind in {"part", "gone"}:
        del record[part]
        if kind != "gone":
            record[part] = data.draw(parts)
        return
    name = data.draw(st.sampled_from(sorted(fields)))
    del fields[name]
    if kind == "field":
        fields[name] = data.draw(values)


@pytest.mark.slow
@settings(max_examples=400)
@given(st.sampled_from(sorted(GOOD)), st.integers(0, 3), st.data())
def test_a_damaged_message_is_read_or_refused_in_words(
    kind: str, num_damages: int, data: st.DataObject
) -> None:
    record = GOOD[kind]()
    for _ in range(num_damages):
        if record:
            damage(record, data)
    for unpack, pack in SIDES:
        read_or_refused(record, unpack, pack)
    try:
        unpack_counts(record, COUNTS)
    except (Unreadable, ProtocolMismatch):
        return


def read_or_refused(
    record: RecordDict,
    unpack: Callable[[RecordDict], object],
    pack: Callable[..., RecordDict],
) -> None:
    """What was read is a message that can be sent on, and comes out the same."""
    try:
        message = unpack(record)
    except (Unreadable, ProtocolMismatch):
        return
    again = pack(message)
    assert repr(unpack(again)) == repr(message)


@pytest.mark.parametrize("kind", sorted(GOOD))
def test_each_message_is_read_by_its_own_side(kind: str) -> None:
    read = 0
    for unpack, _ in SIDES:
        try:
            unpack(GOOD[kind]())
        except Unreadable:
            continue
        read += 1
    assert read >= 1


@pytest.mark.parametrize("protocol", [None, 0, 3, "4", PROTOCOL + 1, [PROTOCOL]])
def test_no_message_of_another_protocol_is_read(protocol: str | None) -> None:
    for make in GOOD.values():
        record = make()
        del record.config_records["header"]["protocol"]
        if protocol is not None:
            record.config_records["header"]["protocol"] = protocol
        for unpack, _ in SIDES:
            with pytest.raises(ProtocolMismatch):
                unpack(record)
