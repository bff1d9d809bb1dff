"""One hospital's part in a study: what it answers, what it keeps, and that nothing is trained twice."""

import math
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from client.cache.layout import cache_path
from client.cache.records import open_cache
from client.config import SiteConfig
from client.kept import KeptRounds, study_folder
from client.packing import RESIDUAL
from client.rounds import answer
from federation.config import ModelChoice, StudyConfig, Transport, study_digest, study_json
from federation.encoding import Encoding
from federation.messages import Instruction, Refusal, RefusalCode, Shipment, Update
from federation.shipment import inline_shipment, open_content, open_inline
from federation.stages import FullStage, LocalTraining, LoraStage
from federation.strict_yaml import dump_yaml
from federation.wire.rounds import pack_answer
from model.adapter import initial_adapter
from model.arrays import Arrays, digest_arrays
from model.conditioning import NUM_SITES, Schema
from model.low_rank import shapes_at_rank, truncate_adapter
from model.tensor_file import copy_tensors

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
    return Instruction(
        study=study_json(study), round_number=1, weights=inline_shipment(random_weights)
    )


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
    arrays = {
        part: [(name, array.data) for name, array in tensors.items()]
        for part, tensors in record.array_records.items()
    }
    return repr((record.config_records, arrays)).encode()


def change_of(update: Update) -> Arrays:
    """The change as the coordinator reads it."""
    return open_content(update.change, update.content or b"")


def without_cache(site: SiteConfig) -> SiteConfig:
    """The hospital when its radiographs are gone, so that it cannot train."""
    shutil.rmtree(cache_path(site))
    return site


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


def with_transport(study: StudyConfig, upload: Encoding) -> StudyConfig:
    return replace(study, transport=Transport(upload=upload, shard_values=2**15))


@pytest.mark.parametrize("upload", ["fp32", "bf16", "int8", "int4"])
def test_asked_again_a_hospital_sends_the_same_bytes_though_rounding_is_random(
    site: SiteConfig, study: StudyConfig, full: Instruction, upload: Encoding
) -> None:
    asked = replace(full, study=study_json(with_transport(study, upload)))
    first = trained(site, asked)
    again = trained(without_cache(site), asked)
    assert first.change.encoding == upload
    assert again.change.digest == first.change.digest
    assert as_sent(again) == as_sent(first)
    remembered = list(site.state_path.glob(f"studies/*/round-*/{RESIDUAL}"))
    assert len(remembered) == (upload == "int4")


DIES_BEFORE_IT_SENDS = """
import os, signal, sys

sys.path.insert(0, sys.argv[1])
from client import rounds
from client.config import load_site
from federation.messages import Instruction
from federation.shipment import inline_shipment
from model.arrays import load_arrays
from pathlib import Path

rounds.let_leave = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
weights = inline_shipment(load_arrays(Path(sys.argv[3])))
study = Path(sys.argv[4]).read_text()
rounds.answer(
    load_site(Path(sys.argv[2])), Instruction(study=study, round_number=1, weights=weights)
)
"""


@pytest.mark.slow
def test_a_hospital_killed_between_finishing_and_sending_sends_what_it_had_finished(
    site: SiteConfig, study: StudyConfig, full: Instruction, memory_path: Path
) -> None:
    coarse = with_transport(study, "int4")
    asked = replace(full, study=study_json(coarse))
    profile, weights = memory_path / "site.yaml", memory_path / "weights"
    chosen = {"site_name": site.site_name, "coordinator": site.coordinator}
    paths = {"ca_path": site.ca_path, "data_path": site.data_path, "state_path": site.state_path}
    texts = {name: str(path) for name, path in paths.items()}
    profile.write_text(dump_yaml({**chosen, **texts, "image_size": site.image_size}))
    copy_tensors(weights, dict(open_inline(full.weights)))
    (memory_path / "study").write_text(asked.study)
    root = str(Path(__file__).parents[1])
    words = map(str, (profile, weights, memory_path / "study"))
    command = [sys.executable, "-c", DIES_BEFORE_IT_SENDS, root, *words]
    died = subprocess.run(command, check=False, timeout=240)
    assert died.returncode == -signal.SIGKILL
    kept = KeptRounds(study_folder(site, study_digest(coarse))).read(1)
    assert kept is not None
    sent = trained(without_cache(site), asked)
    assert sent.change.digest == kept.update.change.digest
    assert sent.content == kept.path.read_bytes()


def test_what_rounding_took_from_one_round_is_in_the_next_one_of_the_stage_and_no_further(
    site: SiteConfig, study: StudyConfig, full: Instruction, random_weights: Arrays
) -> None:
    """With weights that do not move, two rounds leave what an exact hospital would, but for one rounding."""
    still = replace(LOCAL, learning_rate=1e-12)
    stages = (replace(FULL, local=still), replace(FULL, local=still, num_rounds=1))
    coarse = with_transport(replace(study, stages=stages), "int4")
    asked = replace(full, study=study_json(coarse))
    trained(site, asked)
    kept = KeptRounds(study_folder(site, study_digest(coarse)))
    residual = dict(kept.residual(2, first=1))
    assert residual.keys() == random_weights.keys()
    assert not any(tensor.any() for tensor in residual.values())
    rng = np.random.default_rng(1)
    grown = {
        name: rng.uniform(0.1, 0.5, tensor.shape).astype(np.float32)
        for name, tensor in residual.items()
    }
    copy_tensors(kept.round_path(1) / RESIDUAL, grown)
    second = change_of(trained(site, replace(asked, round_number=2)))
    np.testing.assert_allclose(second["head.weight"], grown["head.weight"], atol=0.5 / 7)
    third = change_of(trained(site, replace(asked, round_number=3)))
    assert max(np.abs(tensor).max() for tensor in third.values()) < 1e-6


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
