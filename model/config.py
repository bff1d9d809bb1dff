"""The numbers that fix tensor shapes: five sizes of network, and what an adapter attaches to."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """Architecture of the network. Two equal configs give equal parameter shapes."""

    size: str
    """Name of the size, for example ``small``."""

    image_size: int
    """Side of the square radiograph, in pixels. Fixes no shape; another side still runs."""

    patch_size: int
    """Side of one token's patch, in pixels of what the network sees."""

    dim: int
    """Width of the residual stream."""

    depth: int
    """Number of transformer blocks."""

    head_dim: int
    """Width of one attention head; a multiple of 4, because half of it turns with y, half with x."""

    hidden_dim: int
    """Width inside the gated feed-forward layer."""

    bottleneck_dim: int
    """Width of the narrow layer between a patch's pixels and the residual stream."""

    num_registers: int
    """Learned tokens that belong to no place and no attribute."""

    context_start: int
    """Block before which the attribute and register tokens join the image tokens."""

    num_channels: int = 1
    """Channels of what the network sees: 1 for pixels, more for the latents of a codec."""

    codec_factor: int = 1
    """Pixels of the radiograph along one pixel of what the network sees: 1 without a codec."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in ("size", "context_start") and value < 1:
                raise ValueError(f"{field.name} is {value}, it must be at least 1")
        token_side = self.codec_factor * self.patch_size
        _require_multiple(
            "image_size", self.image_size, "a patch, whose side in pixels is", token_side
        )
        _require_multiple("dim", self.dim, "head_dim", self.head_dim)
        if self.head_dim % 4:
            raise ValueError(f"head_dim {self.head_dim} must be a multiple of 4")
        if not 0 <= self.context_start < self.depth:
            raise ValueError(
                f"context_start {self.context_start} must be a block number from 0 to {self.depth - 1}"
            )

    @property
    def num_heads(self) -> int:
        """Attention heads of a block."""
        return self.dim // self.head_dim

    @property
    def num_image_tokens(self) -> int:
        """Patches of one radiograph."""
        return (self.input_size // self.patch_size) ** 2

    @property
    def input_size(self) -> int:
        """Side of what the network sees, in its pixels."""
        return self.image_size // self.codec_factor

    @property
    def noise_size(self) -> int:
        """Side in pixels of the radiograph that as much noise hides as what the network sees."""
        return noise_size(self.num_channels, self.input_size)

    @property
    def patch_values(self) -> int:
        """Numbers of one patch, over all channels."""
        return self.num_channels * self.patch_size**2


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterConfig:
    """A low-rank adapter: which layers it changes, and by a product of which rank.

    The changed layer computes W x + (alpha / rank) B A x. (Hu et al. 2021,
    https://arxiv.org/abs/2106.09685.)
    """

    rank: int
    """Rows of A, columns of B."""

    alpha: float
    """Strength of the adapter, as a multiple of the rank: ``alpha = rank`` scales by 1."""

    targets: tuple[str, ...] = ("qkv", "proj", "w12", "w3")
    """Layers of every block that get an adapter."""

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"adapter rank is {self.rank}, it must be at least 1")
        if not self.alpha > 0:
            raise ValueError(f"adapter alpha is {self.alpha}, it must be above 0")
        unknown = sorted(set(self.targets) - set(ADAPTER_TARGETS))
        if unknown or not self.targets or len(set(self.targets)) < len(self.targets):
            raise ValueError(
                f"adapter targets are {self.targets}, they must be different layers out of "
                f"{', '.join(ADAPTER_TARGETS)}"
            )


ADAPTER_TARGETS = ("qkv", "proj", "w12", "w3")
"""Layers of a block that can carry an adapter."""


def noise_size(num_channels: int, side: int) -> int:
    """Side in pixels of a grey picture with as many values as one of so many channels.

    What is spread over more values needs more noise to be hidden. Pixels say the same thing many
    times over and latents do not, which this leaves out of account on purpose: it puts half of the
    training of FLUX.2's latents at 512 pixels above a noise level of .76, where Esser et al. (2024)
    found the best for latents at .75.

    Args:
        num_channels: 1 for pixels, which gives back ``side``.
        side: of the picture, in its own pixels.
    """
    return round(math.sqrt(num_channels) * side)


def model_config(
    size: str, image_size: int, *, num_channels: int = 1, codec_factor: int = 1
) -> ModelConfig:
    """The architecture of a named size for radiographs of a given side.

    From 1024 pixels on a patch is twice as wide, so that 1024 pixels take as many tokens as 512. With
    a codec a patch covers as much of the radiograph as without, and at least one latent pixel.

    Args:
        size: one of ``SIZES``.
        image_size: side of the radiograph in pixels, a multiple of the patch.
        num_channels: of the codec's latents; 1 for pixels.
        codec_factor: pixels along one latent pixel; 1 for pixels.

    Raises:
        ValueError: unknown size, or a side that does not divide into patches.
    """
    if size not in SIZES:
        raise ValueError(f"there is no model size {size!r}: choose one of {', '.join(SIZES)}")
    numbers = dict(SIZES[size])
    if image_size >= 1024:
        numbers["patch_size"] *= 2
    numbers["patch_size"] = max(1, numbers["patch_size"] // max(1, codec_factor))
    return ModelConfig(
        size=size,
        image_size=image_size,
        num_channels=num_channels,
        codec_factor=codec_factor,
        **numbers,
    )


_COLUMNS = (
    "patch_size",
    "dim",
    "depth",
    "head_dim",
    "hidden_dim",
    "bottleneck_dim",
    "num_registers",
    "context_start",
)

SIZES: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        size: MappingProxyType(dict(zip(_COLUMNS, numbers, strict=True)))
        for size, numbers in {
            "tiny": (8, 96, 4, 32, 256, 32, 4, 0),
            "small": (16, 384, 12, 64, 1024, 128, 8, 3),
            "base": (16, 768, 16, 64, 2048, 128, 12, 4),
            "large": (16, 1152, 26, 64, 3072, 192, 12, 6),
            "xl-1.3b": (16, 1792, 34, 128, 4736, 256, 12, 8),
        }.items()
    }
)
"""Name -> the fields of ``ModelConfig`` that do not depend on the radiograph."""


def _require_multiple(name: str, value: int, of_name: str, of: int) -> None:
    """Raise unless ``value`` divides by ``of``."""
    if value % of:
        raise ValueError(f"{name} {value} must be a multiple of {of_name} {of}")
