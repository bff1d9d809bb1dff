"""How an autoencoder's latents are brought to about unit scale, which every family does its own way."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LatentScale:
    """Numbers that are subtracted and multiplied with; they repeat over cells of the latent picture.

    A cell is one latent pixel, or two by two where neighbours have their own numbers.
    """

    shift: Float[Tensor, "channel cell cell"]
    factor: Float[Tensor, "channel cell cell"]

    @property
    def cell(self) -> int:
        """Side of a cell, in latent pixels."""
        return self.shift.shape[-1]

    def apply(
        self, latents: Float[Tensor, "batch channel height width"]
    ) -> Float[Tensor, "batch channel height width"]:
        """From the autoencoder's own scale to about unit scale."""
        return (latents - self._spread(self.shift, latents)) * self._spread(self.factor, latents)

    def undo(
        self, latents: Float[Tensor, "batch channel height width"]
    ) -> Float[Tensor, "batch channel height width"]:
        """From about unit scale to the autoencoder's own."""
        return latents / self._spread(self.factor, latents) + self._spread(self.shift, latents)

    def _spread(
        self, cell: Float[Tensor, "channel cell cell"], latents: Tensor
    ) -> Float[Tensor, "channel height width"]:
        """A cell, side by side over a whole latent picture."""
        height, width = latents.shape[-2:]
        return cell.repeat(1, height // self.cell, width // self.cell)


def latent_scale(kind: str, settings: Mapping[str, Any], network: nn.Module) -> LatentScale:
    """The scale that belongs to an autoencoder.

    Args:
        kind: the name of its class.
        settings: its ``config.json``.
        network: the autoencoder, with its weights.
    """
    if kind == "AutoencoderKLFlux2":
        norm = network.get_submodule("bn")
        assert isinstance(norm, nn.BatchNorm2d)  # noqa: S101  the class has no other
        return _from_batch_norm(norm, int(settings["latent_channels"]))
    shift = settings.get("shift_factor") or 0.0  # AutoencoderDC has none
    shape = (int(settings["latent_channels"]), 1, 1)
    return LatentScale(
        shift=torch.full(shape, float(shift)),
        factor=torch.full(shape, float(settings["scaling_factor"])),
    )


def _from_batch_norm(norm: nn.BatchNorm2d, num_channels: int) -> LatentScale:
    """FLUX.2: running statistics over the 2 x 2 neighbours of every channel, channel by channel."""
    mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
    side = round((len(mean) / num_channels) ** 0.5)
    deviation = torch.sqrt(variance + norm.eps)
    shape = (num_channels, side, side)
    return LatentScale(shift=mean.reshape(shape), factor=deviation.reciprocal().reshape(shape))
