"""The codec that somebody else trained: a frozen autoencoder from the `diffusers` library, in fp32.

It knows colour and our radiographs do not: grey goes into all its channels, and the mean of its channels
comes back. What it gives is the most likely latent, not a draw, so the same picture always gives the same.
(Rombach et al. 2022, https://arxiv.org/abs/2112.10752.)
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor, nn

from model.codec.autoencoder_folder import AutoencoderFolder, WrongCodec, read_folder
from model.codec.latent_scale import latent_scale

PIXELS_AT_ONCE = 4 * 512 * 512
"""Of radiographs that go through the autoencoder together; more would only cost memory."""


class DiffusersMissing(RuntimeError):
    """The library that knows the autoencoders is an optional part of the installation."""

    def __init__(self) -> None:
        super().__init__(
            "an autoencoder needs the diffusers library, which is not installed: "
            "type pip install 'fedcxr[codec]'"
        )


class DiffusersCodec:
    """A folder's autoencoder, ready; `encode` and `decode` bound their memory by going in parts."""

    def __init__(self, path: Path, *, device: torch.device) -> None:
        """Load the folder.

        Args:
            path: with ``config.json`` and ``diffusion_pytorch_model.safetensors``.
            device: where the autoencoder computes.

        Raises:
            WrongCodec: the folder is not what it should be.
            DiffusersMissing: the library is not installed.
        """
        folder = read_folder(path)
        self._network = _load(folder).to(device)
        self._settings: Mapping[str, Any] = self._network.config
        self._scale = latent_scale(folder.kind, self._settings, self._network)
        self._device = device
        self.digest: str | None = folder.digest
        self.num_channels = int(self._settings["latent_channels"])
        self.factor: int = 2 ** (len(self._settings[_SIDES[folder.kind]]) - 1)

    @property
    def side_unit(self) -> int:
        """Pixels of which a radiograph's side must be a multiple."""
        return self.factor * self._scale.cell

    @torch.no_grad()
    def encode(
        self, images: Float[Tensor, "batch 1 height width"]
    ) -> Float[Tensor, "batch channel latent_height latent_width"]:
        """The most likely latents, of about unit scale."""
        height, width = images.shape[-2:]
        if len(images) == 0:  # some layers of the library take no empty batch
            shape = (0, self.num_channels, height // self.factor, width // self.factor)
            return images.new_zeros(shape)
        parts = torch.split(images, _at_once(height * width))
        return torch.cat([self._encode(part.to(self._device)) for part in parts]).to(images.device)

    @torch.no_grad()
    def decode(
        self, latents: Float[Tensor, "batch channel latent_height latent_width"]
    ) -> Float[Tensor, "batch 1 height width"]:
        """Grey pictures; not clipped."""
        height, width = (side * self.factor for side in latents.shape[-2:])
        if len(latents) == 0:
            return latents.new_zeros(0, 1, height, width)
        parts = torch.split(latents, _at_once(height * width))
        return torch.cat([self._decode(part.to(self._device)) for part in parts]).to(latents.device)

    def _encode(self, images: Tensor) -> Tensor:
        colour = images.float().expand(-1, int(self._settings["in_channels"]), -1, -1)
        with torch.autocast(self._device.type, enabled=False):
            encoded = self._network.encode(colour)
        plain = encoded.latent if hasattr(encoded, "latent") else encoded.latent_dist.mode()
        return self._scale.apply(plain)

    def _decode(self, latents: Tensor) -> Tensor:
        with torch.autocast(self._device.type, enabled=False):
            colour: Tensor = self._network.decode(self._scale.undo(latents.float())).sample
        return colour.mean(dim=1, keepdim=True)


_SIDES = {
    "AutoencoderKL": "block_out_channels",
    "AutoencoderKLFlux2": "block_out_channels",
    "AutoencoderDC": "encoder_block_out_channels",
}
"""Kind -> the setting that lists its resolutions, each half of the one before."""


def _at_once(num_pixels: int) -> int:
    """Pictures of so many pixels that go through together."""
    return max(1, PIXELS_AT_ONCE // num_pixels)


def _load(folder: AutoencoderFolder) -> Any:  # noqa: ANN401  the library has no types
    """The frozen network, with all of its weights from the file and none made up."""
    try:
        import diffusers  # noqa: PLC0415  optional
    except ImportError as err:
        raise DiffusersMissing from err
    try:
        network, report = getattr(diffusers, folder.kind).from_pretrained(
            folder.path,
            use_safetensors=True,
            local_files_only=True,
            torch_dtype=torch.float32,
            output_loading_info=True,
        )
    except (ValueError, OSError, RuntimeError, TypeError, SafetensorError) as err:
        raise _does_not_fit(folder.path) from err
    if any(report.values()):
        raise _does_not_fit(folder.path)
    return nn.Module.requires_grad_(network, requires_grad=False).eval()


def _does_not_fit(path: Path) -> WrongCodec:
    return WrongCodec(
        f"the weights in {path} are damaged or do not fit its config.json: "
        "copy both again from where they came from"
    )
