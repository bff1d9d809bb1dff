"""A study's durable record: exactly one outcome per round, whenever the process dies."""

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from federation.config import FullStage, LocalTraining, LoraStage, StudyConfig, study_digest
from federation.files import AlreadyRunning
from model.arrays import Arrays, digest_arrays
from model.conditioning import NUM_SITES
from server.state import GlobalState
from server.store import (
    TENSORS,
    DamagedRound,
    Part,
    StudyStore,
    all_studies,
    find_study,
)

StudyOf = Callable[..., StudyConfig]
LOCAL = LocalTraining(local_steps=1, batch_size=1, learning_rate=1.0)
FULL = FullStage(kind="full", num_rounds=4, local=LOCAL)
LORA = LoraStage(kind="lora", num_rounds=4, local=LOCAL, rank=1, alpha=1.0)


def tensors(seed: int) -> Arrays:
    rng = np.random.default_rng(seed)
    return {"w": rng.normal(size=(2, 3)).astype(np.float32)}


def state_after(number: int) -> GlobalState:
    return GlobalState(
        round_number=number,
        weights=tensors(number),
        momentum=tensors(100 + number),
        average=tensors(200 + number),
        base=tensors(300 + number),
        base_digest=f"base of {number}",
    )


def commit(store: StudyStore, number: int) -> None:
    stage, _ = store.study.stage_of(number)
    store.commit(state_after(number), stage=stage, parts=[], seconds=1.0)


def same(one: GlobalState | None, two: GlobalState) -> bool:
    """Whether two states agree in every bit."""
    return (
        one is not None
        and all(
            digest_arrays(getattr(one, name)) == digest_arrays(getattr(two, name))
            for name in TENSORS
        )
        and (one.round_number, one.base_digest) == (two.round_number, two.base_digest)
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
    assert same(again.load_state(), state_after(2))


def test_creating_a_study_again_keeps_what_it_has(store: StudyStore, memory_path: Path) -> None:
    commit(store, 1)
    assert same(StudyStore.create(memory_path, store.study).load_state(), state_after(1))


def test_another_study_has_a_folder_of_its_own(
    store: StudyStore, study_of: StudyOf, memory_path: Path
) -> None:
    other = StudyStore.create(memory_path, study_of(FULL, LORA, seed=2))
    assert other.folder != store.folder
    assert {each.folder for each in all_studies(memory_path)} == {other.folder, store.folder}
    assert find_study(memory_path, study_digest(other.study)).folder == other.folder


def test_a_study_that_is_being_created_is_not_listed_before_it_is_whole(
    study_of: StudyOf, memory_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("server.store.write_file", dies)
    with pytest.raises(KeyboardInterrupt):
        StudyStore.create(memory_path, study_of(FULL))
    assert all_studies(memory_path) == []


@pytest.mark.parametrize("kind", TENSORS)
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
    assert same(store.stage_end(0), state_after(4))
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


def test_changes_are_kept_until_they_are_cleared(store: StudyStore) -> None:
    store.keep_change("a", tensors(1))
    assert digest_arrays(store.load_change("a")) == digest_arrays(tensors(1))
    store.clear_changes()
    assert list((store.folder / "scratch").iterdir()) == []


def test_the_mean_loss_is_that_of_the_sites_that_have_one(store: StudyStore) -> None:
    parts = [
        Part(number=1, site="a", attempt=1, state="admitted", loss=1.0, held_out_loss=float("nan")),
        Part(number=1, site="b", attempt=1, state="admitted", loss=3.0),
    ]
    store.commit(state_after(1), stage=0, parts=parts, seconds=1.0)
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
