"""A small federation on the latents of an autoencoder that every hospital has a copy of."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from client.cache.layout import cache_path
from client.cache.records import open_cache
from client.config import SiteConfig
from client.rounds import answer
from client.training_records import EncodedRecords
from federation.config import Autoencoder, ModelChoice, StudyConfig, study_json
from federation.messages import Instruction, Refusal, RefusalCode, Update
from federation.shipment import inline_shipment
from federation.stages import FullStage, LocalTraining
from model.checkpoint import load_model
from model.codec.autoencoder_folder import read_folder
from model.codec.diffusers_codec import DiffusersCodec
from model.codec.pixel import PixelCodec
from server.export import model_path
from server.store import StudyStore
from simulation.alone import fresh_weights
from simulation.config import SimulationConfig, load_simulation
from simulation.layout import Layout
from simulation.prepare import FolderMissing, prepare

pytestmark = pytest.mark.slow  # the library with the autoencoders takes seconds to import

FULL = FullStage(
    kind="full",
    num_rounds=2,
    local=LocalTraining(local_steps=3, batch_size=2, learning_rate=1e-2),
)


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two blocks with random weights: four channels at half of the size."""
    import diffusers

    folder = tmp_path_factory.mktemp("autoencoder")
    make: Any = diffusers.AutoencoderKL
    make(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 16),
        latent_channels=4,
        norm_num_groups=4,
        scaling_factor=5.0,
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def latents(autoencoder: Path) -> ModelChoice:
    codec = Autoencoder(
        kind="diffusers", digest=read_folder(autoencoder).digest, num_channels=4, factor=2
    )
    return ModelChoice(size="tiny", image_size=16, codec=codec)


@pytest.fixture
def plan(
    mini_plan: Callable[..., SimulationConfig], latents: ModelChoice, autoencoder: Path
) -> SimulationConfig:
    pixels = mini_plan(FULL)
    return replace(pixels, study=replace(pixels.study, model=latents), codec_path=autoencoder)


@pytest.fixture
def study(plan: SimulationConfig) -> StudyConfig:
    return plan.study


def _instruction(study: StudyConfig) -> Instruction:
    weights = inline_shipment(fresh_weights(study))
    return Instruction(study=study_json(study), round_number=1, weights=weights)


def _refused(site: SiteConfig, study: StudyConfig) -> str:
    found = answer(site, _instruction(study))
    assert isinstance(found, Refusal)
    assert found.code == RefusalCode.STUDY
    return found.reason


def test_hospitals_train_a_model_of_latents_that_draws_through_the_autoencoder(
    plan: SimulationConfig,
    federate_in_process: Callable[..., StudyStore],
    fedcxr: Callable[..., tuple[int, str, str]],
    memory_path: Path,
    autoencoder: Path,
) -> None:
    layout = Layout(memory_path)
    names = prepare(layout, plan, lambda _line: None)
    store = federate_in_process(plan.study, names, layout, on_change=lambda _store: None)
    network, manifest = load_model(model_path(store))
    assert manifest.codec_digest == read_folder(autoencoder).digest
    assert manifest.parent_digest != manifest.weights_digest
    assert network.patch_down.in_features == 4 * 4 * 4
    losses = [part.loss for part in store.parts()]
    assert len(losses) == 4
    assert all(loss is not None and np.isfinite(loss) for loss in losses)
    wanted = ("generate", model_path(store), "--n", 2, "--steps", 1)
    out = memory_path / "out.png"
    code, _, err = fedcxr(*wanted, "--out", out, "--codec", autoencoder)
    assert (code, err) == (0, "")
    assert out.exists()
    code, _, err = fedcxr(*wanted, "--out", out)
    assert code == 2
    assert "give the folder that holds it with --codec" in err


def test_training_sees_latents_of_the_records_it_asks_for(
    make_hospital: Callable[..., SiteConfig], memory_path: Path, autoencoder: Path
) -> None:
    records = open_cache(cache_path(make_hospital(memory_path)))
    codec = DiffusersCodec(autoencoder, device=torch.device("cpu"))
    images, conditions = records.batch(np.array([4, 1]))
    seen, told = EncodedRecords(records=records, codec=codec).batch(np.array([4, 1]))
    torch.testing.assert_close(seen, codec.encode(images))
    assert seen.shape == (2, 4, 8, 8)
    assert torch.equal(told, conditions)
    plain, _ = EncodedRecords(records=records, codec=PixelCodec()).batch(np.array([4, 1]))
    assert torch.equal(plain, images)


def test_a_hospital_without_the_autoencoder_says_what_its_data_manager_sets(
    make_hospital: Callable[..., SiteConfig], memory_path: Path, study: StudyConfig
) -> None:
    reason = _refused(make_hospital(memory_path), study)
    assert study.model.codec_digest is not None
    assert f"has no copy of the study's autoencoder {study.model.codec_digest[:12]}" in reason
    assert "its data manager sets codec_path" in reason


@pytest.mark.parametrize("change", ["another digest", "another shape", "no folder"])
def test_an_autoencoder_that_is_not_the_study_s_is_refused_without_naming_a_folder(
    make_hospital: Callable[..., SiteConfig],
    memory_path: Path,
    study: StudyConfig,
    autoencoder: Path,
    change: str,
) -> None:
    codec = study.model.codec
    assert isinstance(codec, Autoencoder)
    path = autoencoder
    if change == "another digest":
        codec = replace(codec, digest="0" * 64)
    elif change == "another shape":
        codec = replace(codec, num_channels=8)
    else:
        path = memory_path / "nothing"
    other = replace(study, model=replace(study.model, codec=codec))
    reason = _refused(make_hospital(memory_path, codec_path=path), other)
    assert "cannot use its copy of the study's autoencoder" in reason
    assert str(path) not in reason


def test_a_hospital_with_an_autoencoder_takes_part_in_a_study_of_pixels(
    make_hospital: Callable[..., SiteConfig],
    memory_path: Path,
    study_of: Callable[..., StudyConfig],
) -> None:
    pixels = study_of(FULL)
    with_one = make_hospital(memory_path, "ab", codec_path=memory_path / "nothing")
    found = answer(with_one, _instruction(pixels))
    assert isinstance(found, Update)
    without = answer(make_hospital(memory_path / "other", "ab"), _instruction(pixels))
    assert isinstance(without, Update)
    assert found.change == without.change


def test_a_simulation_has_an_autoencoder_if_its_study_does(
    plan: SimulationConfig, memory_path: Path
) -> None:
    with pytest.raises(ValueError, match="codec_path and an autoencoder"):
        replace(plan, codec_path=None)
    missing = replace(plan, codec_path=memory_path / "nothing")
    with pytest.raises(FolderMissing, match="nothing"):
        prepare(Layout(memory_path), missing, lambda _line: None)


def test_the_autoencoder_of_a_simulation_lies_beside_its_file(
    tmp_path: Path, latents: ModelChoice
) -> None:
    demo = Path(__file__).parents[1] / "configs" / "demo.yaml"
    content = yaml.safe_load(demo.read_text()) | {"codec_path": "folder"}
    content["study"]["model"]["codec"] = asdict(latents)["codec"]
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(content))
    loaded = load_simulation(tmp_path / "plan.yaml")
    assert loaded.codec_path == tmp_path / "folder"
    assert loaded.study.model.codec == latents.codec


def test_the_command_that_names_an_autoencoder_prints_what_a_study_needs(
    fedcxr: Callable[..., tuple[int, str, str]],
    make_hospital: Callable[..., SiteConfig],
    memory_path: Path,
    autoencoder: Path,
    latents: ModelChoice,
) -> None:
    cache = cache_path(make_hospital(memory_path))
    code, out, _ = fedcxr("model", "codec", autoencoder, "--real", cache, "--json")
    facts = json.loads(out)
    assert code == 0
    assert ModelChoice(size="tiny", image_size=16, codec=Autoencoder(**facts["codec"])) == latents
    assert facts["round_trip"]["num_images"] == 12
    assert facts["round_trip"]["psnr"] < 20  # random weights keep nothing
    _, text, _ = fedcxr("model", "codec", autoencoder)
    assert f"    digest: {facts['codec']['digest']}" in text
    assert "Lost of" not in text
