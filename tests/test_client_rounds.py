"""One hospital's part in a study: what it answers, what it keeps, and that nothing is trained twice."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from client.cache.layout import cache_path
from client.cache.records import open_cache
from client.config import SiteConfig
from client.rounds import answer
from client.training import train_locally
from federation.config import (
    FullStage,
    LocalTraining,
    LoraStage,
    ModelChoice,
    StudyConfig,
    study_digest,
    study_json,
)
from federation.messages import Instruction, Refusal, RefusalCode, Update
from federation.schedule import derive_seed, trained_tensors
from federation.wire import pack_answer
from model.adapter import attach, initial_adapter, load
from model.arrays import Arrays, digest_arrays
from model.checkpoint import load_arrays_into
from model.conditioning import NUM_SITES, Schema
from model.transformer import RectifiedFlowTransformer
from server.aggregation import add
from server.rounds import Answered, Event, run_study
from server.state import GlobalState
from server.store import StudyStore

StudyOf = Callable[..., StudyConfig]
MakeHospital = Callable[..., SiteConfig]
LOCAL = LocalTraining(local_steps=2, batch_size=2, learning_rate=1e-3)
FULL = FullStage(kind="full", num_rounds=2, local=LOCAL)
LORA = LoraStage(kind="lora", num_rounds=2, local=LOCAL, rank=2, alpha=2.0)


@pytest.fixture
def site(make_hospital: MakeHospital, memory_path: Path) -> SiteConfig:
    return make_hospital(memory_path)


@pytest.fixture
def study(study_of: StudyOf) -> StudyConfig:
    return study_of(FULL, LORA, num_sites=1, min_sites=1)


@pytest.fixture
def full(study: StudyConfig, random_weights: Arrays) -> Instruction:
    """The instruction of the first round."""
    return Instruction(study=study_json(study), round_number=1, weights=random_weights)


@pytest.fixture
def lora(study: StudyConfig, random_weights: Arrays) -> Instruction:
    """The instruction of the first adapter round, with the frozen model."""
    return Instruction(
        study=study_json(study),
        round_number=3,
        weights=initial_adapter(study.model_config, LORA.adapter, torch.Generator()),
        base=random_weights,
        base_digest=digest_arrays(random_weights),
    )


def trained(site: SiteConfig, instruction: Instruction) -> Update:
    found = answer(site, instruction)
    assert isinstance(found, Update)
    return found


def refused(site: SiteConfig, instruction: Instruction) -> Refusal:
    found = answer(site, instruction)
    assert isinstance(found, Refusal)
    return found


def as_sent(update: Update) -> bytes:
    """Every byte of the answer."""
    record = pack_answer(update)
    tensors = record.array_records["change"].items()
    return repr((record.config_records, [(name, array.data) for name, array in tensors])).encode()


def without_cache(site: SiteConfig) -> SiteConfig:
    """The hospital when its radiographs are gone, so that it cannot train."""
    shutil.rmtree(cache_path(site))
    return site


def other(weights: Arrays) -> Arrays:
    return {name: tensor + np.float32(0.01) for name, tensor in weights.items()}


def test_an_update_says_what_it_answers(
    site: SiteConfig, study: StudyConfig, full: Instruction
) -> None:
    update = trained(site, full)
    assert update.study_digest == study_digest(study)
    assert update.received_digest == digest_arrays(full.weights)
    assert (update.round_number, update.num_steps) == (1, 2)
    assert update.change.keys() == full.weights.keys()
    assert np.isfinite([update.loss, update.held_out_loss]).all()


def test_counts_leave_only_if_the_hospital_says_so(
    make_hospital: MakeHospital, memory_path: Path, full: Instruction
) -> None:
    silent = trained(make_hospital(memory_path, "a"), full)
    open_ = trained(make_hospital(memory_path, "b", share_counts=True), full)
    assert (silent.num_records, silent.num_files) == (0, 0)
    assert (open_.num_records, open_.num_files) == (12, 13)


def test_asked_again_a_hospital_sends_the_same_bytes_without_training(
    site: SiteConfig, full: Instruction
) -> None:
    first = trained(site, full)
    assert as_sent(trained(without_cache(site), full)) == as_sent(first)


def test_asked_with_other_weights_a_hospital_trains_again(
    site: SiteConfig, full: Instruction
) -> None:
    first = trained(site, full)
    second = trained(site, replace(full, weights=other(full.weights)))
    assert digest_arrays(second.change) != digest_arrays(first.change)
    again = refused(without_cache(site), replace(full, weights=full.weights))
    assert again.code == RefusalCode.NO_CACHE


def test_a_study_with_another_seed_is_another_study(
    site: SiteConfig, study_of: StudyOf, full: Instruction
) -> None:
    first = trained(site, full)
    other_study = study_of(FULL, LORA, num_sites=1, min_sites=1, seed=2)
    second = trained(site, replace(full, study=study_json(other_study)))
    assert second.study_digest != first.study_digest
    assert digest_arrays(second.change) != digest_arrays(first.change)


def test_two_hospitals_with_the_same_radiographs_draw_differently(
    make_hospital: MakeHospital, memory_path: Path, full: Instruction
) -> None:
    first = make_hospital(memory_path, "ab")
    second = make_hospital(memory_path, "ba")
    one, two = (open_cache(cache_path(site)).images for site in (first, second))
    np.testing.assert_array_equal(one[:], two[:])
    changes = [digest_arrays(trained(site, full).change) for site in (first, second)]
    assert changes[0] != changes[1]


@pytest.mark.parametrize("number", [7, None])
def test_a_hospital_trains_the_embedding_of_the_number_it_was_given_and_no_others(
    site: SiteConfig, full: Instruction, number: int | None
) -> None:
    schema = Schema()
    change = trained(site, replace(full, site_number=number)).change["attributes.weight"]
    null = schema.offsets[schema.names.index("site")]
    moved = np.flatnonzero(np.abs(change[null : null + NUM_SITES + 1]).sum(axis=1))
    assert set(moved) <= {0, number}
    assert number is None or number in moved


def test_the_number_of_the_hospital_stays_out_of_its_cache(
    site: SiteConfig, full: Instruction
) -> None:
    before = open_cache(cache_path(site)).rows
    trained(site, replace(full, site_number=7))
    np.testing.assert_array_equal(open_cache(cache_path(site)).rows, before)


def test_a_hospital_without_a_cache_says_what_its_data_manager_types(
    site: SiteConfig, full: Instruction
) -> None:
    refusal = refused(without_cache(site), full)
    assert refusal.code == RefusalCode.NO_CACHE
    assert "fedcxr hospital ingest" in refusal.reason


def test_a_cache_of_another_size_is_refused_with_both_sizes(
    site: SiteConfig, study: StudyConfig, full: Instruction
) -> None:
    larger = replace(study, model=ModelChoice(size="tiny", image_size=32))
    refusal = refused(site, replace(full, study=study_json(larger)))
    assert refusal.code == RefusalCode.CACHE
    assert "holds 16-pixel radiographs" in refusal.reason
    assert "needs 32 pixels" in refusal.reason


def test_a_cache_with_other_findings_is_refused(
    site: SiteConfig, study: StudyConfig, full: Instruction
) -> None:
    fewer = replace(study, findings=("edema",))
    refusal = refused(site, replace(full, study=study_json(fewer)))
    assert refusal.code == RefusalCode.CACHE
    assert "1 findings" in refusal.reason


def test_a_damaged_cache_is_refused_without_naming_a_folder(
    site: SiteConfig, full: Instruction
) -> None:
    (rows,) = cache_path(site).glob("*/rows")
    rows.write_bytes(rows.read_bytes()[:-1])
    refusal = refused(site, full)
    assert refusal.code == RefusalCode.CACHE
    assert "cache is damaged" in refusal.reason
    assert str(site.state_path) not in refusal.reason


def test_a_picture_that_turns_out_damaged_ends_the_round_and_names_no_folder(
    site: SiteConfig, full: Instruction
) -> None:
    for shard in cache_path(site).glob("*/*.shard"):
        shard.write_bytes(bytes(shard.stat().st_size))
    refusal = refused(site, full)
    assert refusal.code == RefusalCode.CACHE
    assert "cache is damaged" in refusal.reason
    assert str(site.state_path) not in refusal.reason


def test_a_cache_that_the_key_does_not_fit_is_refused(
    site: SiteConfig, full: Instruction, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("5a" * 32, "no key"):
        monkeypatch.setenv("FEDCXR_CACHE_KEY", key)
        refusal = refused(site, full)
        assert refusal.code == RefusalCode.CACHE
        assert "cache is locked" in refusal.reason


def test_a_cache_without_a_training_record_is_refused(
    make_hospital: MakeHospital, memory_path: Path, full: Instruction
) -> None:
    refusal = refused(make_hospital(memory_path, "b", num_records=1), full)
    assert refusal.code == RefusalCode.CACHE
    assert "no radiograph to train on" in refusal.reason


def test_a_study_of_another_release_is_refused_with_the_keys_it_does_not_know(
    site: SiteConfig, full: Instruction
) -> None:
    newer = full.study[:-1] + ',"secure":true}'
    refusal = refused(site, replace(full, study=newer))
    assert refusal.code == RefusalCode.STUDY
    assert "secure: " in refusal.reason


def test_a_frozen_model_that_was_never_sent_is_asked_for(
    site: SiteConfig, lora: Instruction
) -> None:
    assert refused(site, replace(lora, base=None)).code == RefusalCode.BASE_MISSING


def test_a_frozen_model_is_kept_after_the_first_time(site: SiteConfig, lora: Instruction) -> None:
    trained(site, lora)
    later = replace(lora, round_number=4, weights=other(lora.weights), base=None)
    assert trained(site, later).change.keys() == lora.weights.keys()


def test_a_frozen_model_that_is_not_the_named_one_is_refused(
    site: SiteConfig, lora: Instruction
) -> None:
    refusal = refused(site, replace(lora, base=other(lora.base or {})))
    assert refusal.code == RefusalCode.STALE
    assert refused(site, replace(lora, base=None)).code == RefusalCode.BASE_MISSING


def test_another_frozen_model_than_the_kept_one_is_asked_for(
    site: SiteConfig, lora: Instruction
) -> None:
    trained(site, lora)
    later = replace(lora, round_number=4, base=None, base_digest="another")
    assert refused(site, later).code == RefusalCode.BASE_MISSING


def test_only_the_factor_that_trains_travels(
    site: SiteConfig, study_of: StudyOf, lora: Instruction
) -> None:
    study = study_of(FULL, replace(LORA, rule="alternate"), num_sites=1, min_sites=1)
    for number, factor in ((3, ".lora_B."), (4, ".lora_A.")):
        instruction = replace(
            lora, study=study_json(study), round_number=number, weights=other(lora.weights)
        )
        change = trained(site, instruction).change
        assert change.keys() == {name for name in lora.weights if factor in name}
        assert all(tensor.any() for tensor in change.values())


def local_study(
    study: StudyConfig, site: SiteConfig, start: Callable[[int, Arrays], Arrays]
) -> Arrays:
    """The whole study at one hospital, without a federation."""
    records = open_cache(cache_path(site)).at_site(None)
    weights: Arrays = {}
    base: Arrays = {}
    moments: Arrays = {}
    for number in range(1, study.num_rounds + 1):
        index, stage = study.stage_of(number)
        if number == study.first_round_of(index):
            base, weights, moments = weights, start(index, weights), {}
        network = RectifiedFlowTransformer(study.model_config, Schema(study.findings))
        model: torch.nn.Module = network
        if isinstance(stage, FullStage):
            load_arrays_into(network, weights)
        else:
            load_arrays_into(network, base)
            model = attach(network, stage.adapter, torch.Generator())
            load(model, weights)
        continues = isinstance(stage, FullStage) or stage.rule == "alternate"
        result = train_locally(
            model,
            trained_tensors(study, number, frozenset(weights)),
            records,
            stage.local,
            seed=derive_seed(study, site.site_name, number),
            optimizer_state=moments if continues else {},
        )
        moments = result.optimizer_state
        weights = add(weights, {n: part.astype(np.float64) for n, part in result.change.items()})
    return weights


@pytest.mark.parametrize(
    "stages",
    [
        (replace(FULL, num_rounds=3),),
        (FULL, replace(LORA, rule="product-svd")),
        (replace(FULL, num_rounds=1), replace(LORA, rule="alternate", num_rounds=4)),
    ],
    ids=["full", "product-svd", "alternate"],
)
def test_a_federation_of_one_hospital_is_local_training_bit_for_bit(
    study_of: StudyOf,
    site: SiteConfig,
    memory_path: Path,
    random_weights: Arrays,
    stages: tuple[FullStage | LoraStage, ...],
) -> None:
    study = study_of(*stages, num_sites=1, min_sites=1)

    def start(index: int, before: Arrays) -> Arrays:  # noqa: ARG001  as the coordinator calls it
        if index == 0:
            return random_weights
        return initial_adapter(study.model_config, LORA.adapter, torch.Generator().manual_seed(9))

    def ask(instruction: Instruction) -> Iterator[Event]:
        yield Answered(site=site.site_name, answer=answer(site, instruction))

    store = StudyStore.create(memory_path / "coordinator", study)
    state: GlobalState = run_study(store, ask, lambda _, index, before: start(index, before))
    local = local_study(study, site, start)
    assert digest_arrays(state.weights) == digest_arrays(local)
    first = start(len(stages) - 1, {})
    assert digest_arrays(local) != digest_arrays(first)
