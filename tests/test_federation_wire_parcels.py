"""Parcels on the wire: few bytes for many tensors, and nothing that a hostile side could stretch or pass off."""

import io
import json
import pickle
import time

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from federation.messages import Shipment, Step, Ticket
from federation.parcel import Parcel, pack_inline
from federation.shipment import inline_shipment
from federation.wire.header import Unreadable
from federation.wire.parcels import put_shipment, shipment_in
from model.config import model_config
from model.tensors import InMemory, num_values, shard_plan

ARRAYS = {"w": np.ones((2, 3), np.float32), "v": np.zeros(7, np.float32)}
TICKET = Ticket(links=("/blobs/x/0",), token="e30.e30", expires=1)  # noqa: S106
SHIPMENT = Shipment(
    digest="a" * 64,
    parcel=inline_shipment(ARRAYS).parcel,
    content=inline_shipment(ARRAYS).content,
    ticket=TICKET,
    step=Step(from_digest="b" * 64, parcel=pack_inline(InMemory(ARRAYS), "int8")[0], ticket=TICKET),
)
EVERY_PART = {"w", "w.content", "w.ticket", "w.step", "w.step.ticket"}


def packed(shipment: Shipment = SHIPMENT) -> RecordDict:
    record = RecordDict()
    put_shipment(record, "w", shipment)
    return record


def parts_of(record: RecordDict) -> set[str]:
    """What has fields, or bytes, of its own."""
    fields = {key.rpartition(".")[0] for key in record.config_records["header"]}
    return fields | set(record.array_records)


def test_a_shipment_has_a_part_for_each_way_to_get_it() -> None:
    assert parts_of(packed()) == EVERY_PART
    assert shipment_in(packed(), "w") == SHIPMENT
    bare = Shipment(digest="a" * 64, parcel=SHIPMENT.parcel)
    assert parts_of(packed(bare)) == {"w"}
    assert shipment_in(packed(bare), "w") == bare


def test_bytes_in_a_part_of_another_kind_are_as_if_they_were_missing() -> None:
    record = packed()
    del record["w.content"]
    record["w.content"] = MetricRecord({"a": 1})
    without = packed()
    del without["w.content"]
    assert shipment_in(record, "w") == shipment_in(without, "w")


def test_shards_travel_as_one_object() -> None:
    assert list(packed().array_records["w.content"]) == ["tensors"]


WRONG_FIELDS: dict[str, list[object]] = {
    "shapes": [
        None,
        b"{}",
        "",
        "[]",
        "{",
        "[" * 100_000,
        '{"w":1}',
        '{"w":[[2,3]]}',
        '{"w":[-2,-3],"v":[7]}',
        '{"w":[2.0,3.0],"v":[7]}',
        '{"w":[true,6],"v":[7]}',
        '{"w":["2","3"],"v":[7]}',
        '{"w":[NaN],"v":[7]}',
        '{"w":[6],"v":[7],"":[0]}',
        '{"w":[6],"v":[7],"a\\nb":[0]}',
        '{"w":[6],"v":[7],"\\ud800":[0]}',
        '{"w":[6],"v":[7],"__metadata__":[0]}',
        '{"w":[1,1,1,1,1,1,1,1,6],"v":[7]}',
        '{"w":[6],"v":[7],"x":[9007199254740992,0]}',
        '{"w":[6],"v":[7],"x":[4294967296,4294967296,0]}',
        '{"w":[' + "9" * 5000 + '],"v":[7]}',
        json.dumps({"w": [6], "v": [7], "x" * 201: [0]}),
        json.dumps({"w": [6], "v": [7]} | {f"x{number}": [0] for number in range(10_000)}),
        '{"w":[6],"v":[7]}' + " " * 4 * 2**20,
    ],
    "encoding": [None, "fp16", 4, "", ["fp32"]],
    "shard_values": [None, 0, -1, 2**28 + 1, 2**40, 4.0, "5", True],
    "digests": [None, "a" * 64, b"", b"x" * 31, b"x" * 33, b"x" * 64, bytes(32 * 10_001), [1]],
    "digest": [None, "a" * 63, "A" * 64, b"a", "a" * 64 + "\n"],
}


def with_field(part: str, name: str, value: object) -> RecordDict:
    """A good record but for one field; None: without it."""
    record = packed()
    fields = record.config_records["header"]
    del fields[f"{part}.{name}"]
    if value is not None:
        fields[f"{part}.{name}"] = value  # type: ignore[assignment]
    return record


@pytest.mark.parametrize("name", list(WRONG_FIELDS))
def test_a_description_that_no_release_writes_is_refused(name: str) -> None:
    for value in WRONG_FIELDS[name]:
        with pytest.raises(Unreadable, match="missing or malformed"):
            shipment_in(with_field("w", name, value), "w")


def test_a_description_of_endless_shards_is_refused_at_once() -> None:
    record = packed()
    record.config_records["header"]["w.shapes"] = json.dumps({"w": [2**52]})
    record.config_records["header"]["w.shard_values"] = 1
    started = time.perf_counter()
    with pytest.raises(Unreadable):
        shipment_in(record, "w")
    assert time.perf_counter() - started < 1


WRONG_TICKETS: dict[str, list[object]] = {
    "links": [
        None,
        "/blobs/x/0",
        [],
        ["/blobs/x/0", "/blobs/x/1"],
        [1],
        [""],
        ["/blobs/x/0\r\nHost: elsewhere"],
        ["/blobs/x 0"],
        ["/blobs/\u00e4/0"],
        ["x" * 4097],
    ],
    "token": [None, 1, b"x", "x" * 4097, "a\r\nb", "a b", "\u00e4"],
    "expires": [None, -1, 1.5, "1", True, 2**53],
}


@pytest.mark.parametrize("part", ["w.ticket", "w.step.ticket"])
@pytest.mark.parametrize("name", list(WRONG_TICKETS))
def test_a_ticket_that_no_release_writes_is_refused(part: str, name: str) -> None:
    for value in WRONG_TICKETS[name]:
        with pytest.raises(Unreadable, match=name):
            shipment_in(with_field(part, name, value), "w")


@pytest.mark.parametrize("value", [None, "b" * 63, 1])
def test_a_step_that_does_not_say_from_where_is_refused(value: object) -> None:
    with pytest.raises(Unreadable, match="from_digest"):
        shipment_in(with_field("w.step", "from_digest", value), "w")


class Bomb:
    """Leaves a trace when it is unpickled."""

    exploded = False

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (setattr, (Bomb, "exploded", True))


def saved(array: object) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(array))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 51, b"\0" * 53, pickle.dumps(Bomb()), saved(np.ones(13, np.float32))],
    ids=["nothing", "too few", "too many", "a pickle", "an array of numpy"],
)
def test_shards_that_are_more_or_fewer_bytes_than_described_are_refused(content: bytes) -> None:
    record = packed()
    array = Array(dtype="uint8", shape=(len(content),), stype="shards", data=content)
    record["w.content"] = ArrayRecord({"tensors": array})
    with pytest.raises(Unreadable, match=r"w\.content"):
        shipment_in(record, "w")
    assert not Bomb.exploded


@pytest.mark.parametrize(
    ("names", "stype"),
    [(["tensors"], "pickle"), (["w"], "shards"), (["tensors", "w"], "shards"), ([], "shards")],
)
def test_shards_in_another_format_or_place_are_refused(names: list[str], stype: str) -> None:
    record = packed()
    array = Array(dtype="uint8", shape=(52,), stype=stype, data=b"\0" * 52)
    record["w.content"] = ArrayRecord(dict.fromkeys(names, array))
    with pytest.raises(Unreadable, match=r"w\.content"):
        shipment_in(record, "w")


@pytest.mark.slow
def test_the_description_of_a_large_model_is_a_few_kilobytes() -> None:
    import torch

    from model.conditioning import Schema
    from model.streaming import empty_network

    network = empty_network(model_config("xl-1.3b", 256), Schema(), torch.float32)
    shapes = {name: tuple(value.shape) for name, value in network.named_parameters()}
    assert num_values(shapes) > 1.2e9
    num_shards = len(shard_plan(shapes, max_values=2**22))
    parcel = Parcel(shapes=shapes, encoding="int4", digests=("0" * 64,) * num_shards)
    record = packed(Shipment(digest="a" * 64, parcel=parcel))
    fields = record.config_records["header"]
    assert isinstance(fields, ConfigRecord)
    assert sum(len(value) for value in fields.values() if isinstance(value, str | bytes)) < 50_000
    assert shipment_in(record, "w").parcel == parcel
