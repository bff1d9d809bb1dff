"""A study's curves in other tools' formats."""

import csv
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import (  # type: ignore[import-untyped]
    descriptor_pb2,
    descriptor_pool,
    message_factory,
)

from federation.config import StudyConfig
from federation.stages import FullStage, LocalTraining
from server.operations.event_file import Point, crc32c, event_file
from server.operations.export import NoRounds, export
from server.records import Part, Reached
from server.store import StudyStore

LOCAL = LocalTraining(local_steps=1, batch_size=1, learning_rate=1.0)
STAGE = FullStage(kind="full", num_rounds=3, local=LOCAL)


@pytest.fixture
def store(tmp_path: Path, study_of: Callable[..., StudyConfig]) -> StudyStore:
    """Two rounds, the second without a loss, which a refused hospital took part in."""
    store = StudyStore.create(tmp_path / "state", study_of(STAGE))
    for number, loss in ((1, 0.5), (2, None)):
        part = Part(number=number, site="st-mary", attempt=1, state="admitted", loss=loss)
        refused = Part(number=number, site="other", attempt=1, state="refused", norm=9.0)
        for each in (part, refused):
            store.record(each)
        store.open_round(number)
        reached = Reached(number=number, digests={}, base_digest="")
        store.commit(reached, [part], seconds=2.5)
    return store


def event_type() -> Any:  # noqa: ANN401  made at run time
    """TensorFlow's event message, as far as curves need it, as the protobuf library reads it."""
    file = descriptor_pb2.FileDescriptorProto(name="event.proto", package="t")
    field = descriptor_pb2.FieldDescriptorProto
    kinds = {
        "Value": [("tag", 1, field.TYPE_STRING, ""), ("simple_value", 2, field.TYPE_FLOAT, "")],
        "Summary": [("value", 1, field.TYPE_MESSAGE, ".t.Value")],
        "Event": [
            ("wall_time", 1, field.TYPE_DOUBLE, ""),
            ("step", 2, field.TYPE_INT64, ""),
            ("file_version", 3, field.TYPE_STRING, ""),
            ("summary", 5, field.TYPE_MESSAGE, ".t.Summary"),
        ],
    }
    for name, fields in kinds.items():
        message = file.message_type.add(name=name)
        for title, number, kind, other in fields:
            label = field.LABEL_REPEATED if title == "value" else field.LABEL_OPTIONAL
            added = message.field.add(name=title, number=number, type=kind, label=label)
            if other:
                added.type_name = other
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Event"))


def events_in(content: bytes) -> list[Any]:
    """Read the frames by the book, and the messages with the protobuf library."""
    event, found, place = event_type(), [], 0
    while place < len(content):
        (length,) = struct.unpack_from("<Q", content, place)
        data = content[place + 12 : place + 12 + length]
        for part, where in ((content[place : place + 8], place + 8), (data, place + 12 + length)):
            value = crc32c(part)
            masked = (((value >> 15) | (value << 17)) + 0xA282EAD8) & 0xFFFFFFFF
            assert struct.unpack_from("<I", content, where) == (masked,)
        found.append(event.FromString(data))
        place += 16 + length
    return found


def test_the_checksum_is_castagnolis() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # the check value of the catalogue of CRC algorithms
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4


def test_tensorboard_reads_every_point_with_its_round_and_time(store: StudyStore) -> None:
    path = export(store, store.folder / "out", "tensorboard")
    first, *events = events_in(path.read_bytes())
    assert first.file_version == "brain.Event:2"
    points = {(e.summary.value[0].tag, e.step): e.summary.value[0].simple_value for e in events}
    assert points["round/loss", 1] == 0.5
    assert ("round/loss", 2) not in points
    assert points["round/seconds", 2] == 2.5
    assert points["st-mary/loss", 1] == 0.5
    assert not [tag for tag, _ in points if tag.startswith("other")]
    assert events[0].wall_time == store.rounds()[0].committed
    assert path.name.startswith("events.out.tfevents.")


def test_a_step_of_many_bits_is_written_whole() -> None:
    point = Point(tag="x", step=3_000_000_000, value=1.0, seconds=2.0)
    assert events_in(b"".join(event_file([point], began=1.0)))[1].step == 3_000_000_000


def test_csv_and_json_hold_the_same_numbers(store: StudyStore) -> None:
    table = export(store, store.folder / "out", "csv").read_text()
    curves = json.loads(export(store, store.folder / "out", "json").read_text())["curves"]
    rows = list(csv.DictReader(table.splitlines()))
    told = {(f"{row['of']}/{row['what']}", int(row["round"])): float(row["value"]) for row in rows}
    assert told == {
        (tag, entry["round"]): entry["value"] for tag, curve in curves.items() for entry in curve
    }
    assert told["round/num_sites", 2] == 1


def test_a_study_without_a_round_has_nothing_to_export(
    tmp_path: Path, study_of: Callable[..., StudyConfig]
) -> None:
    with pytest.raises(NoRounds, match="no committed round"):
        export(StudyStore.create(tmp_path, study_of(STAGE)), tmp_path, "csv")


def test_the_command_names_the_file(
    store: StudyStore, tmp_path: Path, fedcxr: Callable[..., tuple[int, str, str]]
) -> None:
    words = (
        "export-metrics",
        "toy",
        tmp_path / "out",
        "--state",
        tmp_path / "state",
        "--to",
        "csv",
    )
    code, out, _ = fedcxr("coordinator", *words, "--json")
    assert code == 0
    assert Path(json.loads(out)["file"]).name == "toy.csv"
    assert (tmp_path / "out" / "toy.csv").read_bytes() == export(
        store, tmp_path, "csv"
    ).read_bytes()
