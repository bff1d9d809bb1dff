"""A model opens with the autoencoder that it was trained with, and with no other."""

import hashlib
from pathlib import Path

import pytest
import torch

from client.batches import whole_batch
from client.losses import draws_of
from model.codec.autoencoder_folder import WrongCodec
from model.codec.diffusers_codec import DiffusersCodec
from model.codec.opening import CodecMissing, open_codec
from model.codec.pixel import PixelCodec
from model.codec.round_trip import codec_error
from model.conditioning import Schema
from model.config import ModelConfig, model_config, noise_size
from model.generate import Generator, draw
from model.guidance import NO_GUIDANCE
from model.initial import initial_network
from model.manifest import Manifest
from model.sampler import Sampling, sample, starting_noise

LATENTS = model_config("tiny", 16, num_channels=4, codec_factor=2)
MANIFEST = Manifest(
    model=LATENTS,
    findings=Schema().findings,
    kind="full",
    adapter=None,
    study_name="toy",
    study_digest="ab" * 32,
    rounds=1,
    sites=(),
    parent_digest=None,
    weights_digest="cd" * 32,
)
DIGEST = hashlib.sha256(b"autoencoder").hexdigest()


class Folder(DiffusersCodec):
    """A codec as it would come out of a folder; opening one for real takes seconds."""

    side_unit = 4

    def __init__(self, _path: Path, *, device: torch.device) -> None:
        self.device, self.digest = device, DIGEST
        self.num_channels, self.factor = 4, 2


@pytest.fixture(autouse=True)
def _opened_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.codec.opening.DiffusersCodec", Folder)


def _refused(config: ModelConfig, digest: str | None, path: Path | None) -> str:
    with pytest.raises((CodecMissing, WrongCodec)) as caught:
        open_codec(config, digest, path)
    return str(caught.value)


def test_a_model_of_pixels_needs_no_folder() -> None:
    assert isinstance(open_codec(model_config("tiny", 16), None, None), PixelCodec)


def test_a_model_of_latents_opens_with_its_own_autoencoder() -> None:
    codec = open_codec(LATENTS, DIGEST, Path("here"), device=torch.device("meta"))
    assert isinstance(codec, Folder)
    assert codec.device == torch.device("meta")


def test_a_model_of_latents_without_a_folder_asks_for_one() -> None:
    assert _refused(LATENTS, DIGEST, None) == (
        f"the model draws latents of the autoencoder {DIGEST[:12]}: give the folder that holds it with --codec"
    )


def test_a_model_of_pixels_takes_no_autoencoder() -> None:
    assert "draws pixels" in _refused(model_config("tiny", 16), None, Path("here"))


def test_another_autoencoder_than_the_model_s_is_refused_by_both_names() -> None:
    message = _refused(LATENTS, "0" * 64, Path("here"))
    assert DIGEST[:12] in message
    assert "000000000000" in message


@pytest.mark.parametrize(("num_channels", "factor"), [(16, 2), (4, 4)])
def test_latents_of_another_shape_than_the_network_sees_are_refused(
    num_channels: int, factor: int
) -> None:
    config = model_config("tiny", 16, num_channels=num_channels, codec_factor=factor)
    message = _refused(config, DIGEST, Path("here"))
    assert "makes 4 channels at 1/2 of the size" in message
    assert f"sees {num_channels} at 1/{factor}" in message


def test_radiographs_that_do_not_divide_for_the_autoencoder_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = model_config("tiny", 40, num_channels=4, codec_factor=8)

    class Coarse(Folder):
        side_unit = 16

        def __init__(self, path: Path, *, device: torch.device) -> None:
            super().__init__(path, device=device)
            self.factor = 8

    monkeypatch.setattr("model.codec.opening.DiffusersCodec", Coarse)
    message = _refused(config, DIGEST, Path("here"))
    assert "a multiple of 16 pixels, not 40: choose another image_size" in message


@pytest.mark.parametrize(
    ("size", "factor", "patch_size", "num_tokens"),
    [("base", 1, 16, 1024), ("base", 8, 2, 1024), ("base", 32, 1, 256), ("tiny", 8, 1, 4096)],
)
def test_a_patch_covers_as_much_of_a_radiograph_with_a_codec_as_without(
    size: str, factor: int, patch_size: int, num_tokens: int
) -> None:
    config = model_config(size, 512, num_channels=4, codec_factor=factor)
    assert (config.patch_size, config.num_image_tokens) == (patch_size, num_tokens)


def test_noise_hides_latents_by_how_many_values_they_have() -> None:
    assert noise_size(1, 64) == model_config("tiny", 64).noise_size == 64
    flux2 = model_config("base", 512, num_channels=32, codec_factor=8)
    assert flux2.noise_size == 362  # as many values as a grey picture of 362 x 362
    assert LATENTS.noise_size == 16  # four channels of 8 x 8 are 16 x 16 values


class Enlarging(PixelCodec):
    """Each latent pixel is four by four of a radiograph."""

    num_channels = 128**2
    factor = 4

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """The first channel, enlarged."""
        return latents[:, :1].repeat_interleave(4, 2).repeat_interleave(4, 3)


class Brighter(PixelCodec):
    """Loses what any codec loses in a known amount."""

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """A step of a tenth towards white."""
        return latents + 0.1


def test_the_error_of_a_round_trip_is_in_decibels_and_greys() -> None:
    images = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(1)) - 0.5
    error = codec_error(Brighter(), images)
    # A range of 2 against an error of 0.1 everywhere: 20 log10(20) decibels, a twentieth of 255 steps.
    assert error.psnr == pytest.approx(26.02, abs=0.01)
    assert error.mean_absolute_error == pytest.approx(12.75, abs=0.001)
    assert 0 < error.ms_ssim < 1
    assert error.num_images == 3


def test_pixels_lose_nothing() -> None:
    images = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(2)) * 2 - 1
    error = codec_error(PixelCodec(), images)
    assert error.psnr is None
    assert (error.ms_ssim, error.mean_absolute_error) == (1.0, 0.0)


def test_a_round_trip_without_a_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="no picture"):
        codec_error(PixelCodec(), torch.zeros(0, 1, 16, 16))


def test_latents_are_drawn_with_the_steps_of_their_own_number_of_values() -> None:
    config = model_config("tiny", 16, num_channels=128**2, codec_factor=4)
    assert config.noise_size == 128 * 4
    network = initial_network(config, Schema(), 1)
    torch.nn.init.normal_(network.head.weight, std=0.1, generator=torch.Generator().manual_seed(2))
    generator = Generator(
        network=network.eval(), codec=Enlarging(), manifest=MANIFEST, adapter_digest=None
    )
    condition = torch.from_numpy(Schema().null_row())[None]
    sampling = Sampling(num_steps=3, guidance=NO_GUIDANCE, method="euler")
    noise = starting_noise((128**2, 4, 4), seed=3, numbers=(0,))
    latents = sample(network, condition, noise, sampling, image_size=512)
    drawn = draw(generator, condition, seed=3, sampling=sampling)
    assert torch.equal(drawn, Enlarging().decode(latents).clamp(-1, 1))
    assert not torch.allclose(
        latents, sample(network, condition, noise, sampling, image_size=4), atol=1e-3
    )


def test_latents_are_trained_at_the_noise_levels_of_their_own_number_of_values() -> None:
    def levels(*shape: int) -> torch.Tensor:
        batch = whole_batch((torch.zeros(shape), torch.zeros(shape[0], 20)))
        return draws_of(batch, 2, torch.Generator().manual_seed(1)).t

    assert torch.equal(levels(3, 16, 96, 96), levels(3, 1, 384, 384))
    assert bool((levels(3, 16, 96, 96) > levels(3, 1, 96, 96)).all())
