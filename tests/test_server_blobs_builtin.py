"""The built-in store says what is there, frees what it is told to, and is never half of anything."""

import os
from pathlib import Path

import numpy as np
import pytest

from federation.parcel import Parcel, Unpacked, pack, shard_path
from model.tensors import InMemory
from server.blobs.boxes import Boxes, boxes_path
from server.blobs.builtin import BuiltinStore
from server.blobs.part import Part, finish
from server.blobs.published import Published, published_path
from server.blobs.store import BlobStore, ShardDamaged

SPACE = "study.round-1.a"
SHARD_VALUES = 64


@pytest.fixture
def tensors() -> InMemory:
    values = np.random.default_rng(1).normal(size=200).astype(np.float32)
    return InMemory({"w": values})


@pytest.fixture
def parcel(tmp_path: Path, tensors: InMemory) -> Parcel:
    return pack(tmp_path / "change", tensors, "fp32", shard_values=SHARD_VALUES)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def shard(tmp_path: Path, parcel: Parcel, number: int) -> bytes:
    start = sum(parcel.sizes[:number])
    return (tmp_path / "change").read_bytes()[start : start + parcel.sizes[number]]


def leave(state: Path, number: int, content: bytes, *, space: str = SPACE) -> bool:
    """What the gateway does with the body of a PUT."""
    expected = Boxes(boxes_path(state)).expected(space, number)
    assert expected is not None
    with Part(expected) as part:
        part.hash_again()
        part.append([content])
        return part.length == expected.size and part.settle()


def leave_all(state: Path, tmp_path: Path, parcel: Parcel) -> None:
    for number in range(len(parcel.sizes)):
        assert leave(state, number, shard(tmp_path, parcel, number))


def test_what_was_left_is_brought_as_it_was_packed(
    tmp_path: Path, state: Path, parcel: Parcel, tensors: InMemory
) -> None:
    store: BlobStore = BuiltinStore(state)
    store.open_box(SPACE, parcel)
    assert store.arrived(SPACE, parcel) == frozenset()
    leave_all(state, tmp_path, parcel)
    assert store.arrived(SPACE, parcel) == {0, 1, 2, 3}
    brought = Unpacked(parcel, store.bring(SPACE, parcel, range(4)))
    np.testing.assert_array_equal(brought["w"], tensors["w"])


def test_nothing_that_lay_there_before_the_machine_started_anew_counts(
    tmp_path: Path, state: Path, parcel: Parcel, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = BuiltinStore(state)
    store.open_box(SPACE, parcel)
    leave_all(state, tmp_path, parcel)
    torn = state / "blobs" / "boxes" / SPACE / "000001"
    torn.write_bytes(bytes(torn.stat().st_size))  # what a power cut may leave of a file
    monkeypatch.setattr("server.blobs.boxes.boot_id", lambda: "the next start")
    assert store.arrived(SPACE, parcel) == frozenset()
    assert Boxes(boxes_path(state)).expected(SPACE, 0) is None
    with pytest.raises(ShardDamaged):
        store.bring(SPACE, parcel, range(4))
    store.open_box(SPACE, parcel)
    assert not torn.exists()
    leave_all(state, tmp_path, parcel)
    assert store.arrived(SPACE, parcel) == {0, 1, 2, 3}


def test_a_part_has_not_arrived_until_its_last_byte(
    tmp_path: Path, state: Path, parcel: Parcel
) -> None:
    store = BuiltinStore(state)
    store.open_box(SPACE, parcel)
    content = shard(tmp_path, parcel, 1)
    assert not leave(state, 1, content[:100])
    store.open_box(SPACE, parcel)
    assert store.arrived(SPACE, parcel) == frozenset()
    assert leave(state, 1, content[100:])
    assert store.arrived(SPACE, parcel) == {1}


def test_bytes_with_another_digest_do_not_stay(state: Path, parcel: Parcel) -> None:
    store = BuiltinStore(state)
    store.open_box(SPACE, parcel)
    assert not leave(state, 0, bytes(parcel.sizes[0]))
    assert store.arrived(SPACE, parcel) == frozenset()
    assert [path.name for path in (boxes_path(state) / SPACE).iterdir()] == ["box.json"]


def test_a_part_whose_writer_died_before_the_name_is_finished(
    tmp_path: Path, state: Path, parcel: Parcel
) -> None:
    BuiltinStore(state).open_box(SPACE, parcel)
    expected = Boxes(boxes_path(state)).expected(SPACE, 2)
    assert expected is not None
    expected.part_path.write_bytes(shard(tmp_path, parcel, 2))
    assert expected.offset() == expected.size - 1
    assert finish(expected)
    assert (expected.offset(), expected.part_path.exists()) == (expected.size, False)


def test_a_full_part_of_other_bytes_is_not_finished(state: Path, parcel: Parcel) -> None:
    BuiltinStore(state).open_box(SPACE, parcel)
    expected = Boxes(boxes_path(state)).expected(SPACE, 2)
    assert expected is not None
    expected.part_path.write_bytes(bytes(expected.size))
    assert not finish(expected)
    assert expected.offset() == 0


def test_a_dropped_shard_leaves_room_and_can_come_again(
    tmp_path: Path, state: Path, parcel: Parcel
) -> None:
    store = BuiltinStore(state)
    store.open_box(SPACE, parcel)
    leave_all(state, tmp_path, parcel)
    store.drop(SPACE, [0, 2])
    store.drop(SPACE, [0, 2])
    assert store.arrived(SPACE, parcel) == {1, 3}
    with pytest.raises(ShardDamaged):
        store.bring(SPACE, parcel, [0])
    assert leave(state, 0, shard(tmp_path, parcel, 0))
    assert store.arrived(SPACE, parcel) == {0, 1, 3}


def test_a_shard_dropped_while_it_comes_gets_no_name(
    tmp_path: Path, state: Path, parcel: Parcel
) -> None:
    store = BuiltinStore(state)
    store.open_box(SPACE, parcel)
    expected = Boxes(boxes_path(state)).expected(SPACE, 0)
    assert expected is not None
    with Part(expected) as part:
        part.append([shard(tmp_path, parcel, 0)])
        store.drop(SPACE, [0])
        with pytest.raises(FileNotFoundError):
            part.settle()
    assert store.arrived(SPACE, parcel) == frozenset()


def test_a_box_for_other_shards_does_not_keep_these(
    tmp_path: Path, state: Path, parcel: Parcel
) -> None:
    store = BuiltinStore(state)
    store.open_box(SPACE, parcel)
    leave_all(state, tmp_path, parcel)
    zeros = InMemory({"w": np.zeros(200, np.float32)})
    other = pack(tmp_path / "other", zeros, "fp32", shard_values=SHARD_VALUES)
    assert store.arrived(SPACE, other) == frozenset()
    store.open_box(SPACE, other)
    assert store.arrived(SPACE, other) == store.arrived(SPACE, parcel) == frozenset()


def test_what_is_forgotten_is_gone_and_the_rest_is_not(
    tmp_path: Path, state: Path, parcel: Parcel
) -> None:
    store = BuiltinStore(state)
    for space in (SPACE, "study.round-2.a", "another"):
        store.open_box(space, parcel)
        store.publish(space, parcel, tmp_path / "change", 0)
        leave(state, 0, shard(tmp_path, parcel, 0), space=space)
    store.forget("study.")
    assert [path.name for path in boxes_path(state).iterdir()] == ["another"]
    assert [path.name for path in published_path(state).iterdir()] == ["another.json"]
    assert store.arrived("another", parcel) == {0}
    store.forget("")
    assert not [*boxes_path(state).iterdir(), *published_path(state).iterdir()]


def test_what_a_killed_process_left_behind_goes_with_the_next_forgetting(
    tmp_path: Path, state: Path, parcel: Parcel
) -> None:
    store = BuiltinStore(state)
    store.open_box(SPACE, parcel)
    (boxes_path(state) / SPACE).rename(boxes_path(state) / ".gone.abc")
    store.publish(SPACE, parcel, tmp_path / "change", 0)
    (published_path(state) / f".{SPACE}.json.x1y2").write_bytes(b"{")
    store.forget("study.")
    assert not [*boxes_path(state).iterdir(), *published_path(state).iterdir()]


def test_what_is_offered_is_found_where_it_lies(
    tmp_path: Path, state: Path, parcel: Parcel
) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"header" + (tmp_path / "change").read_bytes())
    BuiltinStore(state).publish(SPACE, parcel, file, 6)
    published = Published(published_path(state))
    place = published.place(SPACE, 1)
    assert place is not None
    with place.path.open("rb") as opened:
        opened.seek(place.start)
        assert opened.read(place.size) == shard(tmp_path, parcel, 1)
    assert published.place(SPACE, 4) is None
    assert published.place("another", 0) is None
    os.truncate(file, 300)
    assert published.place(SPACE, 3) is None
    file.unlink()
    assert published.place(SPACE, 0) is None


def test_tickets_have_a_link_for_each_shard(state: Path, parcel: Parcel) -> None:
    store = BuiltinStore(state)
    fetch = store.fetch_ticket(SPACE, parcel, site="a", seconds=60)
    leave = store.leave_ticket(SPACE, parcel, [2, 3], site="a", seconds=60)
    assert fetch.links == tuple(f"/blobs/{SPACE}/{number}" for number in range(4))
    assert leave.links == (f"/blobs/{SPACE}/2", f"/blobs/{SPACE}/3")
    assert fetch.token != leave.token


@pytest.mark.parametrize("space", ["..", "", "A", "a/b", "a" * 121])
def test_the_store_takes_no_name_that_a_path_could_not_hold(
    state: Path, parcel: Parcel, space: str
) -> None:
    with pytest.raises(ValueError, match="cannot name a space"):
        BuiltinStore(state).open_box(space, parcel)


def test_bytes_are_found_where_a_shard_lies_in_its_box(
    tmp_path: Path, state: Path, parcel: Parcel
) -> None:
    BuiltinStore(state).open_box(SPACE, parcel)
    leave_all(state, tmp_path, parcel)
    box = boxes_path(state) / SPACE
    assert shard_path(box, 3).read_bytes() == shard(tmp_path, parcel, 3)
