"""One hospital's part in a study: what it answers, what it keeps, and that nothing is trained twice."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from client.cache.layout import cache_path
from client.cache.records import open_cache
from client.config import SiteConfig
from client.kept import KeptRounds, study_folder
from federation.config import ModelChoice, StudyConfig, study_digest, study_json
from federation.messages import Instruction, RefusalCode, Shipment
from federation.shipment import inline_shipment, open_inline
from model.adapter import initial_adapter
from model.arrays import Arrays, digest_arrays
from model.conditioning import NUM_SITES, Schema
from model.low_rank import shapes_at_rank, truncate_adapter
from tests.toys.answers import change_of, first_round, refused, trained
from tests.toys.open_rounds import FULL, LORA, MakeHospital, StudyOf, as_sent, without_cache


@pytest.fixture
def site(make_hospital: MakeHospital, memory_path: Path) -> SiteConfig:
    return make_hospital(memory_path)


@pytest.fixture
def study(study_of: StudyOf) -> StudyConfig:
    return study_of(FULL, LORA, num_sites=1, min_sites=1)


@pytest.fixture
def full(study: StudyConfig, random_weights: Arrays) -> Instruction:
    """The instruction of the first round."""
    return first_round(study, random_weights)


@pytest.fixture
def lora(study: StudyConfig, random_weights: Arrays) -> Instruction:
    """The instruction of the first adapter round, with the frozen model."""
    return Instruction(
        study=study_json(study),
        round_number=3,
        weights=inline_shipment(
            initial_adapter(study.model_config, LORA.adapter, torch.Generator())
        ),
        base=inline_shipment(random_weights),
    )


def other(weights: Shipment) -> Shipment:
    return inline_shipment(
        {name: tensor + np.float32(0.01) for name, tensor in open_inline(weights).items()}
    )


def described(shipment: Shipment) -> Shipment:
    """Without any way to get it."""
    return replace(shipment, content=None)


def test_an_update_says_what_it_answers(
    site: SiteConfig, study: StudyConfig, full: Instruction
) -> None:
    update = trained(site, full)
    assert update.study_digest == study_digest(study)
    assert update.received_digest == full.weights.digest
    assert (update.round_number, update.num_steps) == (1, 2)
    assert update.change.shapes == full.weights.parcel.shapes
    assert np.isfinite([update.loss, update.held_out_loss]).all()
    lengths = [np.square(tensor.astype(float)).sum() for tensor in change_of(update).values()]
    assert update.norm == pytest.approx(math.sqrt(sum(lengths)))


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
    assert digest_arrays(change_of(second)) != digest_arrays(change_of(first))
    again = refused(without_cache(site), replace(full, weights=full.weights))
    assert again.code == RefusalCode.NO_CACHE


def test_a_study_with_another_seed_is_another_study(
    site: SiteConfig, study_of: StudyOf, full: Instruction
) -> None:
    first = trained(site, full)
    other_study = study_of(FULL, LORA, num_sites=1, min_sites=1, seed=2)
    second = trained(site, replace(full, study=study_json(other_study)))
    assert second.study_digest != first.study_digest
    assert digest_arrays(change_of(second)) != digest_arrays(change_of(first))


def test_two_hospitals_with_the_same_radiographs_draw_differently(
    make_hospital: MakeHospital, memory_path: Path, full: Instruction
) -> None:
    first = make_hospital(memory_path, "ab")
    second = make_hospital(memory_path, "ba")
    one, two = (open_cache(cache_path(site)).images for site in (first, second))
    np.testing.assert_array_equal(one[:], two[:])
    changes = [digest_arrays(change_of(trained(site, full))) for site in (first, second)]
    assert changes[0] != changes[1]


@pytest.mark.parametrize("number", [7, None])
def test_a_hospital_trains_the_embedding_of_the_number_it_was_given_and_no_others(
    site: SiteConfig, full: Instruction, number: int | None
) -> None:
    schema = Schema()
    update = trained(site, replace(full, site_number=number))
    change = change_of(update)["attributes.weight"]
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
    assert lora.base is not None
    never = replace(lora, base=described(lora.base))
    assert refused(site, never).code == RefusalCode.BASE_MISSING
    assert refused(site, replace(lora, base=None)).code == RefusalCode.BASE_MISSING


def test_a_frozen_model_is_kept_after_the_first_time(site: SiteConfig, lora: Instruction) -> None:
    trained(site, lora)
    assert lora.base is not None
    later = replace(lora, round_number=4, weights=other(lora.weights), base=described(lora.base))
    assert trained(site, later).change.shapes == lora.weights.parcel.shapes


def test_a_frozen_model_that_is_not_the_named_one_is_refused(
    site: SiteConfig, lora: Instruction
) -> None:
    assert lora.base is not None
    wrong = replace(other(lora.base), digest=lora.base.digest)
    assert refused(site, replace(lora, base=wrong)).code == RefusalCode.STALE
    nothing = replace(lora, base=described(lora.base))
    assert refused(site, nothing).code == RefusalCode.BASE_MISSING


def test_another_frozen_model_than_the_kept_one_is_asked_for(
    site: SiteConfig, lora: Instruction
) -> None:
    trained(site, lora)
    assert lora.base is not None
    later = replace(lora, round_number=4, base=described(other(lora.base)))
    assert refused(site, later).code == RefusalCode.BASE_MISSING


def test_only_the_factor_that_trains_travels(
    site: SiteConfig, study_of: StudyOf, lora: Instruction
) -> None:
    study = study_of(FULL, replace(LORA, rule="alternate"), num_sites=1, min_sites=1)
    for number, factor in ((3, ".lora_B."), (4, ".lora_A.")):
        instruction = replace(
            lora, study=study_json(study), round_number=number, weights=other(lora.weights)
        )
        change = change_of(trained(site, instruction))
        assert change.keys() == {name for name in lora.weights.parcel.shapes if factor in name}
        assert all(tensor.any() for tensor in change.values())


def test_a_hospital_of_a_smaller_rank_trains_the_nearest_adapter_of_that_rank(
    site: SiteConfig, study_of: StudyOf, lora: Instruction
) -> None:
    """The same as a study of that rank that sends the truncated adapter, at the same scale."""
    grown = other(lora.weights)
    unequal = replace(LORA, rule="product-svd", site_ranks={site.site_name: 1})
    smaller = replace(LORA, rule="product-svd", rank=1, alpha=LORA.alpha / 2)
    studies = [study_of(FULL, stage, num_sites=1, min_sites=1) for stage in (unequal, smaller)]
    truncated = inline_shipment(truncate_adapter(open_inline(grown), 1))
    found, expected = (
        trained(site, replace(lora, study=study_json(study), weights=weights))
        for study, weights in zip(studies, (grown, truncated), strict=True)
    )
    assert found.change.shapes == shapes_at_rank(lora.weights.parcel.shapes, 1)
    assert found.received_digest == grown.digest
    assert digest_arrays(change_of(found)) == digest_arrays(change_of(expected))


def test_the_weights_of_the_last_round_alone_stay_on_the_disk(
    site: SiteConfig, study: StudyConfig, full: Instruction, lora: Instruction
) -> None:
    assert lora.base is not None
    folder = KeptRounds(study_folder(site, study_digest(study))).received
    trained(site, full)
    trained(site, replace(full, round_number=2, weights=other(full.weights)))
    assert [path.stem for path in folder.iterdir()] == [other(full.weights).digest]
    trained(site, lora)
    assert {path.stem for path in folder.iterdir()} == {lora.weights.digest, lora.base.digest}


def test_a_hospital_without_a_cache_fetches_nothing(
    site: SiteConfig, full: Instruction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.task.receive", lambda *_: pytest.fail("something was fetched"))
    assert refused(without_cache(site), full).code == RefusalCode.NO_CACHE
