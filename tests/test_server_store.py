"""A study's durable record: exactly one outcome per round, whenever the process dies."""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from federation.config import StudyConfig, study_digest
from federation.files import AlreadyRunning
from federation.stages import FullStage, LocalTraining, LoraStage
from model.arrays import Arrays, digest_arrays
from model.conditioning import NUM_SITES
from model.tensor_file import copy_tensors
from server.records import Part, Reached
from server.round_files import state_path
from server.state import GlobalState
from server.store import DamagedRound, StudyStore, find_study
from server.survey import answering, survey

StudyOf = Callable[..., StudyConfig]
LOCAL = LocalTraining(local_steps=1, batch_size=1, learning_rate=1.0)
FULL = FullStage(kind="full", num_rounds=4, local=LOCAL)
LORA = LoraStage(kind="lora", num_rounds=4, local=LOCAL, rank=1, alpha=1.0)


def tensors(seed: int) -> Arrays:
    rng = np.random.default_rng(seed)
    return {"w": rng.normal(size=(2, 3)).astype(np.float32)}


KINDS = ("weights", "momentum", "variance", "average")


def files_of(number: int) -> dict[str, Arrays]:
    """What a round leaves behind."""
    return {kind: tensors(1000 * index + number) for index, kind in enumerate(KINDS)}


def commit(store: StudyStore, number: int, parts: Sequence[Part] = ()) -> None:
    folder, digests = store.open_round(number), {}
    for kind, arrays in files_of(number).items():
        digests[kind] = copy_tensors(state_path(folder, kind), arrays)
    stage, _ = store.study.stage_of(number)
    base = digest_arrays(files_of(4)["average"]) if stage else ""
    reached = Reached(number=number, digests=digests, base_digest=base)
    store.commit(reached, parts, seconds=1.0)


def is_after(state: GlobalState | None, number: int) -> bool:
    """Whether a state is what a round left behind, in every bit."""
    return (
        state is not None
        and state.round_number == number
        and state.digest == digest_arrays(state.weights)
        and all(
            digest_arrays(getattr(state, kind)) == digest_arrays(arrays)
            for kind, arrays in files_of(number).items()
        )
    )


@pytest.fixture
def store(study_of: StudyOf, memory_path: Path) -> StudyStore:
    return StudyStore.create(memory_path, study_of(FULL, LORA))


def test_a_study_without_rounds_has_no_state(store: StudyStore) -> None:
    assert store.load_state() is None


def test_a_committed_round_comes_back_bit_for_bit(store: StudyStore) -> None:
    for number in (1, 2):
        commit(store, number)
    again = StudyStore(store.folder)
    assert is_after(again.load_state(), 2)


def test_creating_a_study_again_keeps_what_it_has(store: StudyStore, memory_path: Path) -> None:
    commit(store, 1)
    assert is_after(StudyStore.create(memory_path, store.study).load_state(), 1)


def test_another_study_has_a_folder_of_its_own(
    store: StudyStore, study_of: StudyOf, memory_path: Path
) -> None:
    other = StudyStore.create(memory_path, study_of(FULL, LORA, seed=2))
    assert other.folder != store.folder
    assert {each.folder for each in survey(memory_path, answering)[0]} == {
        other.folder,
        store.folder,
    }
    assert find_study(memory_path, study_digest(other.study)).folder == other.folder


def test_a_study_that_is_being_created_is_not_listed_before_it_is_whole(
    study_of: StudyOf, memory_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("server.store.write_file", dies)
    with pytest.raises(KeyboardInterrupt):
        StudyStore.create(memory_path, study_of(FULL))
    assert survey(memory_path, answering)[0] == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", ["a flipped bit", "cut short", "gone"])
def test_damaged_tensors_of_the_last_round_are_noticed(
    store: StudyStore, kind: str, damage: str
) -> None:
    commit(store, 1)
    path = store.folder / "rounds" / "00001" / f"{kind}.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.unlink()
    if damage != "gone":
        path.write_bytes(content if damage == "a flipped bit" else content[:-5])
    with pytest.raises(
        DamagedRound, match="round 1 have changed on disk: restore the state folder"
    ):
        store.load_state()


def test_old_rounds_are_forgotten_but_the_ends_of_stages_stay(store: StudyStore) -> None:
    kept = []
    for number in range(1, 8):
        commit(store, number)
        kept.append(sorted(int(path.name) for path in (store.folder / "rounds").iterdir()))
    assert kept == [[1], [1, 2], [2, 3], [3, 4], [4, 5], [4, 5, 6], [4, 6, 7]]
    assert is_after(store.stage_end(0), 4)
    assert [record.number for record in store.rounds()] == list(range(1, 8))


def test_the_end_of_a_stage_is_checked_as_well(store: StudyStore) -> None:
    for number in range(1, 6):
        commit(store, number)
    path = store.folder / "rounds" / "00004" / "average.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(DamagedRound, match="round 4"):
        store.stage_end(0)


def test_a_hospitals_part_is_replaced_by_what_is_newer(store: StudyStore) -> None:
    part = Part(number=1, site="a", attempt=1, state="asked")
    store.record(part)
    store.record(replace(part, state="refused", code="norm", reason="why", loss=float("nan")))
    (found,) = store.parts()
    assert (found.state, found.code, found.reason, found.loss) == ("refused", "norm", "why", None)
    assert found.time > 0


def test_forgetting_a_rounds_parts_leaves_those_of_other_rounds(store: StudyStore) -> None:
    for number in (1, 2):
        store.record(Part(number=number, site="a", attempt=1, state="asked"))
    store.forget_parts(2)
    assert [part.number for part in store.parts()] == [1]


def test_what_is_not_committed_takes_no_room_once_it_is_abandoned(store: StudyStore) -> None:
    commit(store, 1)
    copy_tensors(state_path(store.open_round(2), "weights"), tensors(1))
    store.scratch_path("a").write_bytes(b"shards")
    store.abandon_round()
    assert [path.name for path in (store.folder / "rounds").iterdir()] == ["00001"]
    assert list((store.folder / "scratch").iterdir()) == []
    assert is_after(store.load_state(), 1)


def test_the_model_under_an_adapter_is_what_the_stage_before_ended_with(store: StudyStore) -> None:
    for number in range(1, 6):
        commit(store, number)
    state = store.load_state()
    assert state is not None
    assert state.base is not None
    assert digest_arrays(state.base) == digest_arrays(files_of(4)["average"])
    assert state.base_digest == digest_arrays(state.base)


def test_a_damaged_model_under_an_adapter_is_noticed(store: StudyStore) -> None:
    for number in range(1, 6):
        commit(store, number)
    path = state_path(store.round_path(4), "average")
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(DamagedRound, match="round 5 have changed on disk"):
        store.load_state()


def test_the_mean_loss_is_that_of_the_sites_that_have_one(store: StudyStore) -> None:
    parts = [
        Part(number=1, site="a", attempt=1, state="admitted", loss=1.0, held_out_loss=float("nan")),
        Part(number=1, site="b", attempt=1, state="admitted", loss=3.0),
    ]
    commit(store, 1, parts)
    assert [(record.loss, record.held_out_loss) for record in store.rounds()] == [(2.0, None)]


def test_one_process_at_a_time_runs_a_study(store: StudyStore) -> None:
    assert not store.is_running()
    with store.lock():
        assert store.is_running()
        with pytest.raises(AlreadyRunning), StudyStore(store.folder).lock():
            pass
    assert not store.is_running()


def test_a_round_cannot_be_committed_twice(store: StudyStore) -> None:
    commit(store, 1)
    with pytest.raises(sqlite3.IntegrityError):
        commit(store, 1)


def test_a_hospital_keeps_the_number_it_got_at_first_sight(
    study_of: StudyOf, memory_path: Path
) -> None:
    study = study_of(FULL)
    store = StudyStore.create(memory_path, study)
    assert [store.number_site(site) for site in ("north", "east", "north")] == [1, 2, 1]
    again = StudyStore.create(memory_path, study)
    assert [again.number_site(site) for site in ("south", "east")] == [3, 2]
    assert find_study(memory_path, study_digest(study)).site_numbers() == {
        "north": 1,
        "east": 2,
        "south": 3,
    }


def test_a_hospital_beyond_the_last_number_has_none(store: StudyStore) -> None:
    sites = [f"site-{number}" for number in range(NUM_SITES + 2)]
    assert [store.number_site(site) for site in sites] == [*range(1, NUM_SITES + 1), None, None]
    assert store.number_site(sites[-1]) is None
    assert store.number_site(sites[0]) == 1


def test_what_a_commit_cut_short_left_is_freed(
    store: StudyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2):
        commit(store, number)
    with monkeypatch.context() as killed:
        killed.setattr(StudyStore, "_forget_old_rounds", lambda *_: None)
        commit(store, 3)  # killed right after its row
    with monkeypatch.context() as killed:
        killed.setattr("server.store.execute", interrupt)
        with pytest.raises(InterruptedError):
            commit(store, 4)  # killed right before it
    store.abandon_round()
    assert sorted(path.name for path in (store.folder / "rounds").iterdir()) == ["00002", "00003"]
    assert is_after(store.load_state(), 3)


def interrupt(*_: object) -> None:
    raise InterruptedError
