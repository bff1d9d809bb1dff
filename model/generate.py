"""A saved model ready to draw, and radiographs drawn with it for given conditions."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from model.adapter import merge
from model.arrays import WrongModelFile
from model.checkpoint import load_arrays_into, load_model
from model.codec.codec import Codec
from model.codec.opening import open_codec
from model.conditioning import Schema
from model.folder import open_weights
from model.guidance import NO_GUIDANCE, Guidance
from model.manifest import Manifest
from model.sampler import Sampling, sample, starting_noise
from model.transformer import RectifiedFlowTransformer

BATCH = 32
"""Radiographs drawn at once; it is fixed, because the number can change the last bits."""

USUAL_SAMPLING = Sampling(num_steps=20, guidance=Guidance(scale=1.5), method="heun")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Generator:
    """A model that draws."""

    network: RectifiedFlowTransformer
    """With the adapter in it, if there is one; on the device that draws."""

    codec: Codec
    manifest: Manifest
    """Of the whole model, below the adapter."""

    adapter_digest: str | None
    """Of the adapter's weights."""

    @property
    def schema(self) -> Schema:
        """The attributes that the model knows."""
        return self.network.schema

    @property
    def image_size(self) -> int:
        """Side of the radiographs it was trained on, in pixels."""
        return self.network.config.image_size

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(channel, height, width) of what the network sees of one radiograph."""
        config = self.network.config
        return config.num_channels, config.input_size, config.input_size


def open_generator(
    model: Path,
    adapter: Path | None = None,
    codec_path: Path | None = None,
    *,
    device: torch.device | None = None,
) -> Generator:
    """A saved model, with an adapter merged into it if one is given.

    Args:
        model: folder of the model.
        adapter: folder of an adapter to it.
        codec_path: folder of the autoencoder that a model of latents needs.
        device: what draws; the processor by default.

    Raises:
        WrongModelFile: a folder is not what it should be, or the adapter belongs to another model.
        CodecMissing, WrongCodec, DiffusersMissing: the autoencoder is not given, not the right one, or
            cannot be read.
    """
    network, manifest, adapter_digest = open_network(model, adapter)
    return Generator(
        network=network.to(device),
        codec=open_codec(network.config, manifest.codec_digest, codec_path, device=device),
        manifest=manifest,
        adapter_digest=adapter_digest,
    )


def open_network(
    model: Path, adapter: Path | None
) -> tuple[RectifiedFlowTransformer, Manifest, str | None]:
    """A saved network with an adapter merged into it, its manifest, and the digest of the adapter.

    Raises:
        WrongModelFile: a folder is not what it should be, or the adapter belongs to another model.
    """
    network, manifest = load_model(model)
    if adapter is None:
        return network.eval(), manifest, None
    arrays, its_manifest = open_weights(adapter)
    if its_manifest.adapter is None or its_manifest.parent_digest != manifest.weights_digest:
        raise WrongModelFile(
            adapter, f"is not an adapter to {model}", "give the model it was made for"
        )
    load_arrays_into(network, merge(network, arrays, its_manifest.adapter))
    return network.eval(), manifest, its_manifest.weights_digest


def draw(
    generator: Generator,
    condition: Float[Tensor, "picture attribute"],
    *,
    seed: int,
    sampling: Sampling = USUAL_SAMPLING,
) -> Float[Tensor, "picture 1 height width"]:
    """One radiograph per row, pixels in [-1, 1], on the processor; see ``draw_batches``."""
    return torch.cat(list(draw_batches(generator, condition, seed=seed, sampling=sampling)))


def usual_sampling(manifest: Manifest) -> Sampling:
    """How a model draws unless somebody wants it otherwise: a distilled one in its own few steps."""
    if manifest.distilled_steps is None:
        return USUAL_SAMPLING
    return Sampling(num_steps=manifest.distilled_steps, guidance=NO_GUIDANCE, method="euler")


def draw_from(
    generator: Generator,
    condition: Float[Tensor, "batch attribute"],
    noise: Float[Tensor, "batch channel latent_height latent_width"],
    sampling: Sampling,
) -> Float[Tensor, "batch 1 height width"]:
    """One radiograph per row from given noise, pixels in [-1, 1], on the processor; all rows at once."""
    device = next(generator.network.parameters()).device
    latents = sample(
        generator.network,
        condition.to(device),
        noise.to(device),
        sampling,
        image_size=generator.network.config.noise_size,
    )
    return generator.codec.decode(latents).clamp(-1.0, 1.0).cpu()


def draw_batches(
    generator: Generator,
    condition: Float[Tensor, "picture attribute"],
    *,
    seed: int,
    sampling: Sampling = USUAL_SAMPLING,
) -> Iterator[Float[Tensor, "batch 1 height width"]]:
    """Draw radiographs a few at a time, in the order of the rows.

    The same seed and conditions give the same bits on one machine.

    Args:
        generator: what draws.
        condition: age in years or NaN, then ids with 0 for null; at least one row.
        seed: of the noise, at least 0; a row's noise depends on the seed and the row's number.
        sampling: how to walk from noise to picture.

    Yields:
        Pixels in [-1, 1], on the processor.
    """
    for first in range(0, len(condition), BATCH):
        numbers = range(first, min(first + BATCH, len(condition)))
        noise = starting_noise(generator.latent_shape, seed=seed, numbers=numbers)
        yield draw_from(generator, condition[first : first + BATCH], noise, sampling)
