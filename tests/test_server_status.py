"""What a study looks like from outside."""

from collections.abc import Callable
from pathlib import Path

import pytest

from federation.config import StudyConfig
from federation.files import hold_lock
from federation.stages import FullStage, LocalTraining, LoraStage
from server.endpoint import LOCK_NAME
from server.records import Part, Reached
from server.status import study_status
from server.store import StudyStore
from server.watch import want

LOCAL = LocalTraining(local_steps=1, batch_size=1, learning_rate=1.0)
FULL = FullStage(kind="full", num_rounds=8, local=LOCAL)
LORA = LoraStage(kind="lora", num_rounds=2, local=LOCAL, rank=1, alpha=1.0)


@pytest.fixture
def store(study_of: Callable[..., StudyConfig], memory_path: Path) -> StudyStore:
    return StudyStore.create(memory_path, study_of(FULL, LORA))


def commit(store: StudyStore, *, seconds: float = 1.0) -> None:
    number = len(store.rounds()) + 1
    part = Part(
        number=number, site="a", attempt=1, state="admitted", bytes_down=10**6, bytes_up=500_000
    )
    store.record(part)
    store.open_round(number)
    store.commit(Reached(number=number, digests={}, base_digest=""), [part], seconds=seconds)


def test_a_study_that_nobody_asked_for_is_idle(store: StudyStore) -> None:
    status = study_status(store)
    assert (status.state, status.committed, status.current, status.stage) == ("idle", 0, 1, "full")
    assert status.seconds_left is None
    assert status.latest_parts == ()


def test_a_study_that_a_live_process_holds_is_running(store: StudyStore) -> None:
    store.set_fact("stopped", "an old reason")
    with store.lock():
        assert study_status(store).state == "running"


def test_a_study_that_waits_for_a_person_says_why(store: StudyStore) -> None:
    store.set_fact("stopped", "too few hospitals")
    status = study_status(store)
    assert (status.state, status.reason) == ("stopped", "too few hospitals")


def state_of(store: StudyStore) -> tuple[str, str]:
    status = study_status(store)
    return status.state, status.reason


def test_a_wanted_study_without_a_process_waits_and_says_why(
    store: StudyStore, memory_path: Path
) -> None:
    want(store)
    reason = "the coordinator is not running; start it with `fedcxr coordinator up`"
    assert state_of(store) == ("waiting", reason)
    with hold_lock(memory_path / LOCK_NAME):
        assert state_of(store) == ("waiting", "its process is being started")
        store.set_fact("waiting", "the next run begins at 10:00:00 UTC")
        assert state_of(store) == ("waiting", "the next run begins at 10:00:00 UTC")
        with store.lock():
            assert state_of(store) == ("running", "")
    assert state_of(store) == ("waiting", reason)


def test_a_study_without_room_waits_for_room_and_for_nobody(store: StudyStore) -> None:
    want(store)
    store.set_fact("stopped", "40 GB are missing")
    assert state_of(store) == ("stopped", "40 GB are missing")
    store.set_fact("stopped_for", "room")
    assert state_of(store) == ("waiting", "40 GB are missing")


def test_a_study_that_a_person_stopped_is_withdrawn_once_its_process_is_gone(
    store: StudyStore,
) -> None:
    want(store)
    store.set_fact("wanted", "no")
    with store.lock():
        assert study_status(store).state == "running"
    assert state_of(store) == ("withdrawn", "type `fedcxr coordinator run` to take it up again")


def test_a_finished_study_is_finished(store: StudyStore) -> None:
    for _ in range(10):
        commit(store)
    store.set_fact("finished", "now")
    status = study_status(store)
    assert (status.state, status.committed, status.current) == ("finished", 10, 10)
    assert status.seconds_left == 0.0


def test_the_stage_is_that_of_the_round_that_comes_next(store: StudyStore) -> None:
    for _ in range(8):
        commit(store)
    status = study_status(store)
    assert (status.current, status.stage) == (9, "lora")


def test_the_forecast_is_the_median_of_the_last_five_rounds_times_those_left(
    store: StudyStore,
) -> None:
    for seconds in (900.0, 900.0, 1.0, 2.0, 30.0, 4.0, 5.0):
        commit(store, seconds=seconds)
    assert study_status(store).seconds_left == 4.0 * 3


def test_traffic_is_counted_per_round_and_in_all(store: StudyStore) -> None:
    for _ in range(2):
        commit(store)
    status = study_status(store)
    assert status.traffic(number=2) == (1.0, 0.5)
    assert status.traffic() == (2.0, 1.0)


def test_between_rounds_the_parts_of_the_last_one_are_shown(store: StudyStore) -> None:
    commit(store)
    assert [part.number for part in study_status(store).latest_parts] == [1]
    store.record(Part(number=2, site="b", attempt=1, state="asked"))
    assert [part.site for part in study_status(store).latest_parts] == ["b"]
