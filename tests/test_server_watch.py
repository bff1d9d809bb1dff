"""Watching a study to its end, wanting it and wanting it no more; the conductor is played by the test."""

from collections.abc import Callable
from pathlib import Path

import pytest

import server.watch
from federation.config import StudyConfig
from federation.stages import FullStage, LocalTraining
from server.store import StudyStore
from server.watch import StudyStopped, UnknownStudy, run_to_end, study_named, want, withdraw

StudyOf = Callable[..., StudyConfig]
LOCAL = LocalTraining(local_steps=1, batch_size=1, learning_rate=1.0)
STAGE = FullStage(kind="full", num_rounds=2, local=LOCAL)
QUORUM = "round 1 got 1 of 2 updates"


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.watch, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(server.watch, "STOP_SECONDS", 0.05)


@pytest.fixture
def study(study_of: StudyOf) -> StudyConfig:
    return study_of(STAGE)


def after(looks: int, act: Callable[[StudyStore], None]) -> Callable[[StudyStore], None]:
    """Something that happens to the study while it is watched."""
    left = iter(range(looks))

    def on_change(store: StudyStore) -> None:
        if next(left, None) is None:
            act(store)

    return on_change


def finish(store: StudyStore) -> None:
    store.set_fact("finished", "now")


def test_watching_a_study_makes_it_wanted_and_ends_when_it_is_finished(
    study: StudyConfig, memory_path: Path
) -> None:
    wanted: list[str] = []

    def on_change(store: StudyStore) -> None:
        wanted.append(store.fact("wanted"))
        if len(wanted) == 3:
            finish(store)

    assert run_to_end(memory_path, study, on_change=on_change).fact("finished")
    assert wanted == ["yes"] * 4  # the last look shows the end


def test_a_missed_quorum_ends_the_watching_with_its_own_sentence_and_exit_code_3(
    study: StudyConfig, memory_path: Path
) -> None:
    def stop(store: StudyStore) -> None:
        store.set_fact("stopped", QUORUM)

    with pytest.raises(StudyStopped, match=f"^{QUORUM}$"):
        run_to_end(memory_path, study, on_change=after(2, stop))
    assert StudyStopped.exit_code == 3


def test_a_study_that_stopped_is_wanted_anew_when_typed_again(
    study: StudyConfig, memory_path: Path
) -> None:
    store = StudyStore.create(memory_path, study)
    for name in ("stopped", "stopped_for", "fruitless", "waiting"):
        store.set_fact(name, "5")
    store.set_fact("wanted", "no")
    run_to_end(memory_path, study, on_change=finish)
    facts = {name: store.fact(name) for name in ("stopped", "stopped_for", "fruitless", "waiting")}
    assert set(facts.values()) == {""}
    assert store.fact("wanted") == "yes"


def test_a_study_without_room_is_watched_on_since_it_goes_on_by_itself(
    study: StudyConfig, memory_path: Path
) -> None:
    def fill(store: StudyStore) -> None:
        if not store.fact("stopped"):
            store.set_fact("stopped_for", "room")
            store.set_fact("stopped", "no room")

    def fill_then_finish(store: StudyStore) -> None:
        fill(store)
        free(store)

    free = after(3, finish)
    assert run_to_end(memory_path, study, on_change=fill_then_finish).fact("finished")


def test_a_study_stopped_by_a_person_elsewhere_ends_the_watching(
    study: StudyConfig, memory_path: Path
) -> None:
    with pytest.raises(StudyStopped, match="study toy was stopped by a person: type"):
        run_to_end(memory_path, study, on_change=after(1, lambda store: _ended(withdraw(store))))


def test_whoever_ends_the_watching_does_not_end_the_study(
    study: StudyConfig, memory_path: Path
) -> None:
    def interrupt(_: StudyStore) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_to_end(memory_path, study, on_change=interrupt)
    assert StudyStore.create(memory_path, study).fact("wanted") == "yes"


def test_stopping_waits_for_the_end_of_the_process(study: StudyConfig, memory_path: Path) -> None:
    store = StudyStore.create(memory_path, study)
    want(store)
    with store.lock():
        assert not withdraw(store)
        assert store.fact("wanted") == "no"
    assert withdraw(store)


def test_a_study_is_found_by_its_name_its_file_or_its_folder(
    study_of: StudyOf, memory_path: Path, tmp_path: Path
) -> None:
    first, second = (
        StudyStore.create(memory_path, study_of(STAGE, seed=1)),
        StudyStore.create(memory_path, study_of(STAGE, seed=2)),
    )
    assert study_named(memory_path, second.folder.name).study == second.study
    (tmp_path / "study.yaml").write_text((first.folder / "study.json").read_text())
    assert study_named(memory_path, str(tmp_path / "study.yaml")).study == first.study
    with pytest.raises(UnknownStudy, match=f"'toy' does not name one .*{first.folder.name}"):
        study_named(memory_path, "toy")
    with pytest.raises(UnknownStudy, match="it has no study yet"):
        study_named(tmp_path, "toy")


def _ended(has_ended: bool) -> None:  # noqa: FBT001
    assert has_ended
