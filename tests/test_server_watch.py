"""Running a study to its end over runs that die, over a coordinator that is away, and when to give up."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

import server.watch
from federation.config import FullStage, LocalTraining, StudyConfig, study_digest
from server.control import ControlRefused
from server.endpoint import CoordinatorNotRunning
from server.state import GlobalState
from server.store import StudyStore
from server.watch import MAX_FRUITLESS_RUNS, StudyStopped, run_to_end

StudyOf = Callable[..., StudyConfig]
Run = Callable[[StudyStore], None]
LOCAL = LocalTraining(local_steps=1, batch_size=1, learning_rate=1.0)
STAGE = FullStage(kind="full", num_rounds=2, local=LOCAL)
QUORUM = "round 1 got 1 of 2 updates"


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is over before anyone looks is noticed at once."""
    monkeypatch.setattr(server.watch, "POLL_SECONDS", 0.004)
    monkeypatch.setattr(server.watch, "RETRY_SECONDS", 0.001)
    monkeypatch.setattr(server.watch, "START_SECONDS", 0.02)


@pytest.fixture
def study(study_of: StudyOf) -> StudyConfig:
    return study_of(STAGE)


@pytest.fixture
def submitted(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What Flower would do with the next runs, and the runs it got."""
    flower = SimpleNamespace(behaviour=iter(()), configs=[])

    def submit(state_path: Path, run_config: dict[str, str]) -> str:
        flower.configs.append(run_config)
        behave = next(flower.behaviour)
        behave(StudyStore(next((state_path / "studies").iterdir())))
        return str(len(flower.configs))

    monkeypatch.setattr(server.watch, "submit_run", submit)
    monkeypatch.setattr(server.watch, "registered_sites", lambda _: ("north", "south"))
    return flower


def commit(store: StudyStore) -> None:
    number = len(store.rounds()) + 1
    store.commit(GlobalState(round_number=number, weights={}), stage=0, parts=[], seconds=1.0)


def finish(store: StudyStore) -> None:
    commit(store)
    store.set_fact("finished", "now")


def die(_store: StudyStore) -> None:
    """The run's process is gone before it did anything."""


def stop(store: StudyStore) -> None:
    store.set_fact("stopped", QUORUM)


def away(store: StudyStore) -> None:
    raise CoordinatorNotRunning(store.folder)


def refuse(_store: StudyStore) -> None:
    raise ControlRefused("the SuperLink does not answer (ConnectError)")


def quiet(_store: StudyStore) -> None:
    """Show nothing."""


def test_a_run_that_died_is_followed_by_another_for_the_same_study(
    study: StudyConfig, submitted: SimpleNamespace, memory_path: Path
) -> None:
    submitted.behaviour = iter([commit, die, finish])
    looks: list[int] = []
    store = run_to_end(
        memory_path, study, on_change=lambda store: looks.append(len(store.rounds()))
    )
    assert submitted.configs == [{"study": study_digest(study)}] * 3
    assert len(store.rounds()) == 2
    assert looks[-1] == 2


def test_hospitals_of_the_roster_have_their_numbers_before_anybody_connects(
    study: StudyConfig, submitted: SimpleNamespace, memory_path: Path
) -> None:
    seen: list[dict[str, int]] = []

    def connect_backwards(store: StudyStore) -> None:
        seen.append(store.site_numbers())
        assert (store.number_site("south"), store.number_site("late")) == (2, 3)
        finish(store)

    submitted.behaviour = iter([connect_backwards])
    store = run_to_end(memory_path, study, on_change=quiet)
    assert seen == [{"north": 1, "south": 2}]
    assert store.site_numbers() == {"north": 1, "south": 2, "late": 3}


def test_a_finished_study_is_not_submitted_again(
    study: StudyConfig, submitted: SimpleNamespace, memory_path: Path
) -> None:
    submitted.behaviour = iter([finish])
    run_to_end(memory_path, study, on_change=quiet)
    run_to_end(memory_path, study, on_change=quiet)
    assert len(submitted.configs) == 1


def test_runs_that_die_without_a_round_are_given_up(
    study: StudyConfig, submitted: SimpleNamespace, memory_path: Path
) -> None:
    submitted.behaviour = iter([die] * 50)
    with pytest.raises(StudyStopped, match="5 runs of study toy ended without a round: read logs"):
        run_to_end(memory_path, study, on_change=quiet)
    assert len(submitted.configs) == MAX_FRUITLESS_RUNS == 5


def test_a_round_makes_up_for_runs_that_died(
    study: StudyConfig, submitted: SimpleNamespace, memory_path: Path
) -> None:
    submitted.behaviour = iter([*[die] * 4, commit, *[die] * 4, finish])
    assert run_to_end(memory_path, study, on_change=quiet).fact("finished")


def test_a_missed_quorum_stops_with_its_own_sentence_and_exit_code_3(
    study: StudyConfig, submitted: SimpleNamespace, memory_path: Path
) -> None:
    submitted.behaviour = iter([commit, stop])
    with pytest.raises(StudyStopped, match=f"^{QUORUM}$"):
        run_to_end(memory_path, study, on_change=quiet)
    assert StudyStopped.exit_code == 3


def test_a_study_that_stopped_goes_on_when_typed_again(
    study: StudyConfig, submitted: SimpleNamespace, memory_path: Path
) -> None:
    submitted.behaviour = iter([stop, finish])
    with pytest.raises(StudyStopped):
        run_to_end(memory_path, study, on_change=quiet)
    assert run_to_end(memory_path, study, on_change=quiet).fact("stopped") == ""


def test_a_coordinator_that_is_down_is_waited_for(
    study: StudyConfig,
    submitted: SimpleNamespace,
    memory_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    submitted.behaviour = iter([*[away] * 6, refuse, finish])
    assert run_to_end(memory_path, study, on_change=quiet).fact("finished")
    assert len(submitted.configs) == 8
    assert "study toy waits: no coordinator runs in" in caplog.text
    assert "study toy waits: the SuperLink does not answer" in caplog.text


def test_a_study_that_runs_already_is_watched_and_not_submitted(
    study: StudyConfig, submitted: SimpleNamespace, memory_path: Path
) -> None:
    store = StudyStore.create(memory_path, study)
    steps: Iterator[Run] = iter([quiet, commit, finish])
    lock = store.lock()
    lock.__enter__()

    def on_change(seen: StudyStore) -> None:
        next(steps, quiet)(seen)
        if seen.fact("finished") and seen.is_running():
            lock.__exit__(None, None, None)

    assert run_to_end(memory_path, study, on_change=on_change).fact("finished")
    assert submitted.configs == []
