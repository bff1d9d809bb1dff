"""What hospitals fetched and left is counted by hospital and space, and costs nothing else."""

from pathlib import Path

import pytest

from server.blobs.builtin import BuiltinStore
from server.blobs.traffic import Traffic, traffic_path


@pytest.fixture
def traffic(tmp_path: Path) -> Traffic:
    return Traffic(traffic_path(tmp_path))


def test_bytes_are_added_up_by_hospital_over_spaces_that_begin_alike(traffic: Traffic) -> None:
    for space, site, num_bytes in (
        *(("down.1.a", "north", 5), ("down.1.a", "north", 6), ("down.1.b", "north", 100)),
        *(("down.2.a", "north", 1000), ("down.1.a", "south", 10_000), ("down.1.a", "north", 0)),
    ):
        traffic.note(space, site, num_bytes)
    assert traffic.total("down.1.", "north") == 111
    assert traffic.total("down.", "north") == 1111
    assert traffic.total("down.1.", "south") == 10_000
    assert traffic.total("up.", "north") == 0


def test_what_lasts_is_counted_from_a_time_on(
    traffic: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    for now in (10.0, 20.0, 30.0):
        monkeypatch.setattr("time.time", lambda now=now: now)
        traffic.note("down.0.a", "north", int(now))
    assert traffic.total("down.0.", "north", since=20.0) == 50


def test_what_is_forgotten_with_its_space_is_counted_no_longer(
    tmp_path: Path, traffic: Traffic
) -> None:
    for space in ("down.1.a", "down.2.a"):
        traffic.note(space, "north", 7)
    store = BuiltinStore(tmp_path)
    assert store.moved("down.", "north") == 14
    store.forget("down.1.")
    assert store.moved("down.", "north") == 7


def test_a_disk_that_takes_nothing_costs_the_count_alone(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    Traffic(tmp_path / "file").note("down.1.a", "north", 7)
    assert Traffic(tmp_path / "file").total("down.", "north") == 0
