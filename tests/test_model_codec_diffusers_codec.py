"""A frozen autoencoder of any of the three families: what it makes of grey pictures, and which folders it refuses."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.codec.autoencoder_folder import KINDS, WrongCodec, read_folder
from model.codec.codec import Codec
from model.codec.diffusers_codec import DiffusersCodec, DiffusersMissing

WEIGHTS = "diffusion_pytorch_model.safetensors"
CPU = torch.device("cpu")
SIDE = 16

pytestmark = pytest.mark.slow  # the library alone takes seconds to import


def _tiny(kind: str) -> Any:  # noqa: ANN401  the library's types are half there
    """Two blocks, so that four channels at half of the size come out."""
    import diffusers

    make: Any = getattr(diffusers, kind)
    if kind == "AutoencoderDC":
        return make(
            latent_channels=4,
            attention_head_dim=8,
            encoder_block_types="ResBlock",
            decoder_block_types="ResBlock",
            encoder_block_out_channels=(8, 16),
            decoder_block_out_channels=(8, 16),
            encoder_layers_per_block=(1, 1),
            decoder_layers_per_block=(1, 1),
            encoder_qkv_multiscales=((), ()),
            decoder_qkv_multiscales=((), ()),
            scaling_factor=0.41,
        )
    extra = {"scaling_factor": 0.36, "shift_factor": 0.12} if kind == "AutoencoderKL" else {}
    return make(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 16),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        **extra,
    )


def _randomise(network: torch.nn.Module) -> None:
    """Statistics as a trained network would have them."""
    generator = torch.Generator().manual_seed(3)
    for name, value in network.state_dict().items():
        if name == "bn.running_mean":
            value.copy_(torch.randn(value.shape, generator=generator))
        if name == "bn.running_var":
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {}
    for kind in KINDS:
        network = _tiny(kind)
        _randomise(network)
        found[kind] = tmp_path_factory.mktemp(kind)
        network.save_pretrained(found[kind])
    return found


@pytest.fixture
def copied(folders: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """A folder of its own, which the test may damage."""

    def copy(kind: str = "AutoencoderKL") -> Path:
        return shutil.copytree(folders[kind], tmp_path / "copy")

    return copy


def _pictures(count: int = 3, *, seed: int = 1) -> Tensor:
    return torch.rand(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def _own_latents(codec: DiffusersCodec, images: Tensor) -> Tensor:
    """What the library makes of the pictures, before any scaling."""
    with torch.no_grad():
        encoded = codec._network.encode(images.repeat(1, 3, 1, 1))  # noqa: SLF001
    found: Tensor = encoded.latent if hasattr(encoded, "latent") else encoded.latent_dist.mean
    return found


def _refused(path: Path) -> str:
    with pytest.raises(WrongCodec) as caught:
        DiffusersCodec(path, device=CPU)
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_every_family_gives_the_latents_it_declares_and_grey_pictures_back(
    folders: dict[str, Path], kind: str
) -> None:
    codec = DiffusersCodec(folders[kind], device=CPU)
    latents = codec.encode(_pictures())
    assert isinstance(codec, Codec)
    assert (codec.num_channels, codec.factor) == (4, 2)
    assert latents.shape == (3, 4, SIDE // 2, SIDE // 2)
    assert codec.decode(latents).shape == (3, 1, SIDE, SIDE)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_picture_always_gives_the_same_latents(
    folders: dict[str, Path], kind: str
) -> None:
    first, second = (DiffusersCodec(folders[kind], device=CPU).encode(_pictures()) for _ in "ab")
    assert torch.equal(first, second)


def test_latents_of_a_kl_autoencoder_are_shifted_then_scaled(folders: dict[str, Path]) -> None:
    codec = DiffusersCodec(folders["AutoencoderKL"], device=CPU)
    own = _own_latents(codec, _pictures())
    torch.testing.assert_close(codec.encode(_pictures()), (own - 0.12) * 0.36)


def test_latents_of_a_dc_autoencoder_are_only_scaled(folders: dict[str, Path]) -> None:
    codec = DiffusersCodec(folders["AutoencoderDC"], device=CPU)
    own = _own_latents(codec, _pictures())
    torch.testing.assert_close(codec.encode(_pictures()), own * 0.41)


def test_latents_of_flux2_are_normalised_by_the_statistics_of_their_two_by_two_neighbours(
    folders: dict[str, Path],
) -> None:
    codec = DiffusersCodec(folders["AutoencoderKLFlux2"], device=CPU)
    own = _own_latents(codec, _pictures())
    batch, channels, height, width = own.shape
    # The library's pipeline: neighbours become channels, the statistics act, and back.
    cells = own.view(batch, channels, height // 2, 2, width // 2, 2).permute(0, 1, 3, 5, 2, 4)
    packed = cells.reshape(batch, channels * 4, height // 2, width // 2)
    norm = codec._network.bn  # noqa: SLF001
    mean, variance = norm.running_mean.view(1, -1, 1, 1), norm.running_var.view(1, -1, 1, 1)
    packed = (packed - mean) / torch.sqrt(variance + 1e-4)
    cells = packed.view(batch, channels, 2, 2, height // 2, width // 2).permute(0, 1, 4, 2, 5, 3)
    torch.testing.assert_close(codec.encode(_pictures()), cells.reshape(own.shape))


@pytest.mark.parametrize("kind", KINDS)
def test_decoding_undoes_the_scale_and_averages_the_colours(
    folders: dict[str, Path], kind: str
) -> None:
    codec = DiffusersCodec(folders[kind], device=CPU)
    with torch.no_grad():
        colour = codec._network.decode(_own_latents(codec, _pictures())).sample  # noqa: SLF001
    assert float(colour.std(dim=1).mean()) > 0.01
    grey = codec.decode(codec.encode(_pictures()))
    torch.testing.assert_close(grey, colour.mean(dim=1, keepdim=True), atol=1e-4, rtol=1e-4)


def test_many_pictures_go_through_a_few_at_a_time(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    codec, sizes = DiffusersCodec(folders["AutoencoderKL"], device=CPU), list[int]()
    whole = codec.encode(_pictures(5))
    monkeypatch.setattr("model.codec.diffusers_codec.PIXELS_AT_ONCE", 2 * SIDE * SIDE + 1)
    network = codec._network  # noqa: SLF001
    for part in (network.encoder, network.decoder):
        part.register_forward_pre_hook(lambda _module, given: sizes.append(len(given[0])))
    parts = codec.encode(_pictures(5))
    codec.decode(parts)
    assert sizes == [2, 2, 1, 2, 2, 1]
    torch.testing.assert_close(parts, whole)


def test_an_autoencoder_is_frozen_and_stays_in_full_precision(folders: dict[str, Path]) -> None:
    codec = DiffusersCodec(folders["AutoencoderKL"], device=CPU)
    plain = codec.encode(_pictures())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        latents = codec.encode(_pictures())
    assert torch.equal(latents, plain)
    assert latents.dtype == torch.float32
    assert not latents.requires_grad
    assert not any(value.requires_grad for value in codec._network.parameters())  # noqa: SLF001


def test_the_digest_names_weights_and_architecture_and_not_the_program_that_wrote_them(
    copied: Callable[[str], Path],
) -> None:
    folder = copied("AutoencoderKL")
    before, config = read_folder(folder).digest, json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"_diffusers_version": "0.1"}))
    assert read_folder(folder).digest == before
    (folder / "config.json").write_text(json.dumps(config | {"scaling_factor": 0.5}))
    assert read_folder(folder).digest != before
    (folder / "config.json").write_text(json.dumps(config))
    tensors = load_file(folder / WEIGHTS)
    tensors[min(tensors)] += 1.0
    save_file(tensors, folder / WEIGHTS)
    assert read_folder(folder).digest != before


def test_weights_in_half_precision_are_read_as_full(copied: Callable[[str], Path]) -> None:
    folder = copied("AutoencoderKL")
    plain = DiffusersCodec(folder, device=CPU).encode(_pictures())
    halves = {name: tensor.half() for name, tensor in load_file(folder / WEIGHTS).items()}
    save_file(halves, folder / WEIGHTS)
    latents = DiffusersCodec(folder, device=CPU).encode(_pictures())
    assert latents.dtype == torch.float32
    torch.testing.assert_close(latents, plain, atol=2e-3, rtol=0)


def test_a_folder_that_is_not_an_autoencoder_s_is_refused(tmp_path: Path) -> None:
    assert "holds no config.json: give the folder of an autoencoder" in _refused(tmp_path)


def test_a_config_that_is_not_json_is_refused(copied: Callable[[], Path]) -> None:
    folder = copied()
    for content in ("{", "[]"):
        (folder / "config.json").write_text(content)
        assert "copy it again" in _refused(folder)


def test_pickled_weights_are_refused_and_never_opened(copied: Callable[[], Path]) -> None:
    folder = copied()
    (folder / WEIGHTS).rename(folder / "diffusion_pytorch_model.bin")
    assert "a format that can run code: get them as" in _refused(folder)
    (folder / "diffusion_pytorch_model.bin").unlink()
    assert f"holds no {WEIGHTS}: copy it there" in _refused(folder)


def test_an_autoencoder_of_another_family_is_refused_with_the_known_ones(
    copied: Callable[[], Path],
) -> None:
    folder = copied()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"_class_name": "VQModel"}))
    message = _refused(folder)
    assert "'VQModel'" in message
    assert all(kind in message for kind in KINDS)


@pytest.mark.parametrize("damage", ["cut", "missing", "unexpected", "shape"])
def test_weights_that_do_not_fit_are_refused_and_none_is_made_up(
    copied: Callable[[], Path], damage: str
) -> None:
    folder = copied()
    tensors = load_file(folder / WEIGHTS)
    name = "decoder.conv_in.weight"
    if damage == "missing":
        del tensors[name]
    elif damage == "unexpected":
        tensors["another"] = torch.zeros(3)
    elif damage == "shape":
        tensors[name] = tensors[name][:, :2].contiguous()
    save_file(tensors, folder / WEIGHTS)
    if damage == "cut":
        (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100])
    assert "damaged or do not fit its config.json" in _refused(folder)


def test_without_the_library_the_person_is_told_what_to_install(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(DiffusersMissing, match=r"pip install 'fedcxr\[codec\]'"):
        DiffusersCodec(folders["AutoencoderKL"], device=CPU)


def test_a_picture_in_the_middle_of_a_batch_is_encoded_as_it_is_alone(
    folders: dict[str, Path],
) -> None:
    codec = DiffusersCodec(folders["AutoencoderKLFlux2"], device=CPU)
    together, alone = codec.encode(_pictures()), codec.encode(_pictures()[1:2])
    np.testing.assert_allclose(together[1:2], alone, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_no_picture_gives_no_latents(folders: dict[str, Path], kind: str) -> None:
    codec = DiffusersCodec(folders[kind], device=CPU)
    latents = codec.encode(_pictures(0))
    assert latents.shape == (0, 4, SIDE // 2, SIDE // 2)
    assert codec.decode(latents).shape == (0, 1, SIDE, SIDE)
