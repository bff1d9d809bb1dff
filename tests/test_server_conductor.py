"""Wanted studies run until they are finished: over runs that die, a SuperLink that is away, a disk that is full."""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

import server.conductor
from federation.config import StudyConfig
from federation.stages import FullStage, LocalTraining
from server.conductor import MAX_FRUITLESS_RUNS, ROOM_SECONDS, START_SECONDS, Conductor
from server.errand import Done, Outcome
from server.records import Reached
from server.room import SPARE_BYTES
from server.store import StudyStore
from server.watch import want

StudyOf = Callable[..., StudyConfig]
LOCAL = LocalTraining(local_steps=1, batch_size=1, learning_rate=1.0)
STAGE = FullStage(kind="full", num_rounds=3, local=LOCAL)
AWAY = Outcome(is_done=False, text="the SuperLink does not answer (ConnectError)")


class Flower:
    """A SuperLink whose runs live and die as the test says, and a clock that the test moves."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.now = 0.0
        self.sent: list[tuple[float, str, str]] = []
        self.answers: list[Outcome] = []
        self.is_busy = False
        self.behave: Callable[[StudyStore], None] = lambda _: None
        self.conductor = self.restarted()

    def restarted(self) -> Conductor:
        """The conductor of a coordinator that has just been started."""
        self.conductor = Conductor(state=self.state, errands=self, now=lambda: self.now)
        return self.conductor

    def is_free(self) -> bool:
        """Unless the test says otherwise."""
        return not self.is_busy

    def send(self, words: Sequence[str], done: Done) -> None:
        """Do the errand at once."""
        verb, subject = words
        self.sent.append((self.now, verb, Path(subject).name))
        outcome = self.answers.pop(0) if self.answers else None
        done(outcome or Outcome(is_done=True, text=str(len(self.sent))))
        if verb == "start" and outcome is None:
            store = StudyStore(self.state / "studies" / subject)
            store.set_fact("run", str(len(self.sent)))
            self.behave(store)

    def pass_time(self, seconds: float) -> None:
        """Tend four times a second."""
        end = self.now + seconds
        while self.now < end:
            self.now += 0.25
            self.conductor.tend()

    @property
    def starts(self) -> list[float]:
        """When runs were submitted."""
        return [when for when, verb, _ in self.sent if verb == "start"]


@pytest.fixture
def flower(memory_path: Path) -> Flower:
    return Flower(memory_path)


@pytest.fixture
def store(study_of: StudyOf, memory_path: Path) -> StudyStore:
    return StudyStore.create(memory_path, study_of(STAGE))


def commit(store: StudyStore) -> None:
    number = len(store.rounds()) + 1
    store.open_round(number)
    store.commit(Reached(number=number, digests={}, base_digest=""), [], seconds=1.0)


@contextmanager
def held(store: StudyStore) -> Iterator[None]:
    """The run's process."""
    with store.lock():
        store.set_fact("began", store.fact("run"))
        yield


def die(store: StudyStore) -> None:
    """The run's process was there, and is gone."""
    store.set_fact("began", store.fact("run"))


def commit_and_die(store: StudyStore) -> None:
    commit(store)
    die(store)


def stop(store: StudyStore) -> None:
    store.set_fact("stopped", "round 1 got 1 of 2 updates")
    die(store)


def test_a_study_that_nobody_asked_for_is_not_run(flower: Flower, store: StudyStore) -> None:
    flower.pass_time(10)
    assert (flower.sent, store.fact("run")) == ([], "")


def test_a_wanted_study_is_submitted_once_while_its_process_lives(
    flower: Flower, store: StudyStore
) -> None:
    want(store)
    with ExitStack() as process:
        flower.behave = lambda store: process.enter_context(held(store))
        flower.pass_time(10 * START_SECONDS)
    assert flower.sent == [(0.25, "start", store.folder.name)]


def test_a_run_that_died_after_a_round_is_followed_by_another_at_once(
    flower: Flower, store: StudyStore
) -> None:
    want(store)
    flower.behave = commit_and_die
    flower.pass_time(2.5)
    assert flower.starts == [0.25, 1.25, 2.25]


def test_runs_that_die_in_vain_follow_after_longer_and_longer_pauses_and_are_given_up(
    flower: Flower, store: StudyStore
) -> None:
    want(store)
    flower.behave = die
    flower.pass_time(250)
    gaps = [later - earlier for earlier, later in pairwise(flower.starts)]
    assert gaps == [2.0, 5.0, 17.0, 65.0]
    assert len(flower.starts) == MAX_FRUITLESS_RUNS
    assert store.fact("stopped").startswith("5 runs of study toy ended without a round: read logs")


def test_the_reason_of_a_pause_is_kept_for_whoever_asks(flower: Flower, store: StudyStore) -> None:
    want(store)
    flower.behave = die
    flower.pass_time(2)
    assert store.fact("waiting").startswith("run 1 died without a round (1 of 5 in a row); the")
    flower.pass_time(1)
    assert store.fact("waiting") == ""


def test_a_round_makes_up_for_runs_that_died_in_vain(flower: Flower, store: StudyStore) -> None:
    def commit_in_the_fourth(store: StudyStore) -> None:
        if len(flower.starts) == 4:
            commit(store)
        die(store)

    want(store)
    flower.behave = commit_in_the_fourth
    flower.pass_time(250)
    assert len(flower.starts) == 4 + MAX_FRUITLESS_RUNS


def test_runs_that_died_in_vain_are_counted_over_restarts_of_the_coordinator(
    flower: Flower, store: StudyStore
) -> None:
    want(store)
    flower.behave = die
    flower.pass_time(8)
    assert store.fact("fruitless") == "2"
    flower.restarted()
    flower.pass_time(250)
    assert len(flower.starts) == MAX_FRUITLESS_RUNS + 1  # the third died with the coordinator


def test_a_killed_coordinator_goes_on_at_once_and_blames_nobody(
    flower: Flower, store: StudyStore
) -> None:
    want(store)
    for _ in range(3 * MAX_FRUITLESS_RUNS):
        with ExitStack() as process:
            flower.behave = lambda store: process.enter_context(held(store))
            flower.pass_time(3)
        flower.restarted()
    assert len(flower.starts) == 3 * MAX_FRUITLESS_RUNS
    assert (store.fact("fruitless"), store.fact("stopped")) == ("", "")


def test_a_run_without_a_process_gets_its_time_before_another_is_submitted(
    flower: Flower, store: StudyStore
) -> None:
    want(store)
    flower.pass_time(START_SECONDS)
    assert len(flower.starts) == 1
    flower.pass_time(5)
    assert len(flower.starts) == 2
    assert store.fact("fruitless") == "1"


def test_a_superlink_that_does_not_answer_is_asked_again_and_nothing_is_counted(
    flower: Flower, store: StudyStore
) -> None:
    want(store)
    flower.answers = [AWAY] * 20
    flower.pass_time(50)
    assert store.fact("waiting") == AWAY.text
    assert len(flower.starts) == 10
    flower.pass_time(START_SECONDS)
    assert len(flower.starts) == 21
    assert (store.fact("waiting"), store.fact("fruitless")) == ("", "")


def test_a_study_that_stopped_waits_for_a_person_and_then_goes_on_at_once(
    flower: Flower, store: StudyStore
) -> None:
    want(store)
    flower.behave = stop
    flower.pass_time(250)
    assert (len(flower.starts), store.fact("fruitless")) == (1, "")
    want(store)
    flower.pass_time(1)
    assert len(flower.starts) == 2


def test_a_study_given_up_goes_on_at_once_when_a_person_wants_it(
    flower: Flower, store: StudyStore
) -> None:
    want(store)
    flower.behave = die
    flower.pass_time(9)
    assert flower.starts == [0.25, 2.25, 7.25]
    want(store)
    flower.pass_time(1)
    assert flower.starts[-1] == 9.25


def test_a_study_without_room_goes_on_by_itself_once_there_is_some(
    flower: Flower, store: StudyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = SPARE_BYTES
    monkeypatch.setattr(server.conductor, "free_bytes", lambda _: free)
    want(store)
    for name, value in {
        "stopped": "no room",
        "stopped_for": "room",
        "room_needed": str(free + 1),
    }.items():
        store.set_fact(name, value)
    flower.pass_time(100)
    assert (flower.sent, store.fact("stopped")) == ([], "no room")
    free += 1
    flower.pass_time(ROOM_SECONDS + 1)
    assert len(flower.starts) == 1
    assert (store.fact("stopped"), store.fact("stopped_for")) == ("", "")


def test_runs_that_die_on_a_full_disk_are_not_the_studys_fault(
    flower: Flower, store: StudyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(store: StudyStore) -> None:
        monkeypatch.setattr(server.conductor, "free_bytes", lambda _: SPARE_BYTES - 1)
        die(store)

    want(store)
    flower.behave = fill
    flower.pass_time(100)
    assert (len(flower.starts), store.fact("fruitless")) == (1, "")
    assert "has next to no free room" in store.fact("waiting")
    monkeypatch.undo()
    flower.pass_time(1)
    assert len(flower.starts) == 2


def test_a_study_that_fills_the_disk_again_and_again_is_tried_at_long_intervals(
    flower: Flower, store: StudyStore
) -> None:
    def fill(store: StudyStore) -> None:
        store.set_fact("stopped_for", "room")
        stop(store)

    want(store)
    flower.behave = fill
    flower.pass_time(100)
    gaps = [later - earlier for earlier, later in pairwise(flower.starts[1:])]
    assert gaps == [ROOM_SECONDS] * 3
    assert store.fact("fruitless") == ""


def test_the_run_of_a_study_that_is_wanted_no_more_is_ended(
    flower: Flower, store: StudyStore
) -> None:
    want(store)
    with ExitStack() as process:
        flower.behave = lambda store: process.enter_context(held(store))
        flower.pass_time(3)
        store.set_fact("wanted", "no")
        flower.pass_time(3)
    flower.pass_time(2)
    assert [verb for _, verb, _ in flower.sent] == ["start", "stop"]
    assert flower.sent[1][2] == store.fact("run") == "1"
    assert store.fact("fruitless") == ""
    want(store)
    flower.pass_time(1)
    assert len(flower.starts) == 2


def test_a_finished_study_is_left_alone(flower: Flower, store: StudyStore) -> None:
    want(store)
    store.set_fact("finished", "now")
    flower.pass_time(100)
    assert flower.sent == []


def test_studies_run_side_by_side_and_one_errand_is_sent_at_a_time(
    flower: Flower, study_of: StudyOf
) -> None:
    for seed in (1, 2):
        want(StudyStore.create(flower.state, study_of(STAGE, seed=seed)))
    flower.is_busy = True
    flower.pass_time(3)
    assert flower.sent == []
    flower.is_busy = False
    flower.pass_time(2)
    assert set(Counter(name for _, _, name in flower.sent).values()) == {1}
    assert len(flower.sent) == 2


def test_a_study_that_cannot_be_read_or_written_does_not_stop_the_others(
    flower: Flower,
    store: StudyStore,
    study_of: StudyOf,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    other = StudyStore.create(flower.state, study_of(STAGE, seed=2))
    broken = flower.state / "studies" / "aaa"
    broken.mkdir()
    (broken / "study.json").write_text("{")
    want(other)
    want(store)
    write = StudyStore.set_fact

    def full(self: StudyStore, name: str, value: str) -> None:
        if self.folder == store.folder:
            raise sqlite3.OperationalError("database or disk is full")
        write(self, name, value)

    monkeypatch.setattr(StudyStore, "set_fact", full)
    flower.pass_time(5)
    assert [name for _, _, name in flower.sent] == [other.folder.name]
    assert caplog.text.count("study aaa cannot be read") == 1
    assert caplog.text.count("waits: database or disk is full") == 1


def test_a_damaged_study_is_run_as_soon_as_somebody_has_mended_it_and_the_others_meanwhile(
    flower: Flower, store: StudyStore, study_of: StudyOf
) -> None:
    other = StudyStore.create(flower.state, study_of(STAGE, seed=2))
    want(other)
    want(store)
    (store.folder / "study.json").write_text("{")
    flower.pass_time(5)
    assert [name for _, _, name in flower.sent] == [other.folder.name]
    want(StudyStore.create(flower.state, store.study))  # what `coordinator run` does
    flower.pass_time(5)
    assert [name for _, _, name in flower.sent] == [other.folder.name, store.folder.name]


def test_a_study_whose_record_is_of_another_release_does_not_end_the_coordinator(
    flower: Flower, store: StudyStore, study_of: StudyOf, caplog: pytest.LogCaptureFixture
) -> None:
    other = StudyStore.create(flower.state, study_of(STAGE, seed=2))
    for each in (store, other):
        want(each)
        commit(each)
    with closing(sqlite3.connect(store.folder / "study.db")) as connection, connection:
        connection.execute("ALTER TABLE rounds ADD COLUMN weather TEXT")
    flower.pass_time(5)
    assert [name for _, _, name in flower.sent] == [other.folder.name]
    assert caplog.text.count("its study.db is not one of this release") == 1


def test_an_outcome_that_cannot_be_written_down_does_not_end_the_coordinator(
    flower: Flower, store: StudyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    want(store)
    heard: list[Done] = []
    with monkeypatch.context() as slow:
        slow.setattr(flower, "send", lambda _, done: heard.append(done))
        flower.pass_time(2)

    def explain(_: StudyStore, __: str) -> None:
        raise sqlite3.OperationalError("database is locked")

    with monkeypatch.context() as locked:
        locked.setattr(server.conductor, "_explain", explain)
        heard[0](AWAY)
    flower.pass_time(10)
    assert len(flower.starts) == 1
