"""The network of the built-in probe: a few convolutions over a radiograph whose shades are evened out.

Brightness and contrast are a machine's, and a hospital has both its own machine and its own patients: a network
that sees them learns to tell hospitals apart instead of findings. So every pixel is compared with those around it.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

MAX_SIZE = 128
"""Pixels; larger radiographs are reduced to it."""
HALVED_ABOVE = 64
"""Pixels; larger pictures are halved once more, so that all of them cost about the same."""
CHANNELS = (24, 48, 96, 128)
NUM_FEATURES = 128
SURROUNDINGS = 0.11
"""Of the side; how far the pixels around a pixel reach."""
MIN_SPREAD = 0.1
"""Of pixels in [-1, 1]; flatter surroundings are not made livelier than this."""


class ProbeNetwork(nn.Module):
    """Features of an evened picture, and one number per value to tell apart."""

    def __init__(self, num_outputs: int, image_size: int) -> None:
        super().__init__()
        first = CHANNELS[0]
        halved = _convolution(first, first, 3, stride=2) if image_size > HALVED_ABOVE else []
        stages = [_stage(CHANNELS[i], CHANNELS[i + 1]) for i in range(len(CHANNELS) - 1)]
        stem = (*_convolution(1, first, 5, stride=2), *halved, _Residual(first))
        self.trunk = nn.Sequential(*stem, *stages)
        self.neck = nn.Sequential(nn.Linear(2 * CHANNELS[-1], NUM_FEATURES), nn.ReLU())
        self.head = nn.Linear(NUM_FEATURES, num_outputs)

    def features(
        self, evened: Float[Tensor, "batch 1 height width"]
    ) -> Float[Tensor, "batch feature"]:
        """What the last layer decides by; the maximum finds what is small, the mean what is spread out."""
        grid = self.trunk(evened)
        pooled = torch.cat([grid.mean(dim=(2, 3)), grid.amax(dim=(2, 3))], dim=1)
        features: Tensor = self.neck(pooled)
        return features

    def forward(
        self, evened: Float[Tensor, "batch 1 height width"]
    ) -> Float[Tensor, "batch output"]:
        """Numbers before any softmax."""
        outputs: Tensor = self.head(self.features(evened))
        return outputs


class _Residual(nn.Module):
    """A convolution whose result is added to what it saw."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.change = nn.Sequential(*_convolution(channels, channels, 3, stride=1)[:-1])

    def forward(self, grid: Tensor) -> Tensor:
        return torch.relu(grid + self.change(grid))


def _convolution(narrow: int, wide: int, width: int, *, stride: int) -> list[nn.Module]:
    layer = nn.Conv2d(narrow, wide, width, stride=stride, padding=width // 2, bias=False)
    return [layer, nn.BatchNorm2d(wide), nn.ReLU()]


def _stage(narrow: int, wide: int) -> nn.Sequential:
    """Half the side, more channels."""
    return nn.Sequential(*_convolution(narrow, wide, 3, stride=2), _Residual(wide))


def initial_probe(num_outputs: int, image_size: int, generator: torch.Generator) -> ProbeNetwork:
    """A fresh network; the same generator state gives the same bits, and nothing global is drawn from.

    Its convolutions keep channels last, which takes a third less time.
    """
    with torch.device("meta"):
        network = ProbeNetwork(num_outputs, image_size)
    network.to_empty(device="cpu")
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", generator=generator)
        elif isinstance(module, nn.Linear):
            nn.init.kaiming_uniform_(module.weight, a=5**0.5, generator=generator)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.to(memory_format=torch.channels_last)
    return network


def to_probe_size(
    images: Float[Tensor, "batch 1 height width"], size: int = MAX_SIZE
) -> Float[Tensor, "batch 1 rows columns"]:
    """Pictures of at most ``size`` pixels a side; smaller ones as they are."""
    if max(images.shape[-2:]) <= size:
        return images
    return resized(images, size)


def resized(
    images: Float[Tensor, "batch 1 height width"], size: int
) -> Float[Tensor, "batch 1 rows columns"]:
    """Square pictures of ``size`` pixels a side."""
    if images.shape[-2:] == (size, size):
        return images
    return interpolate(images, size=(size, size), mode="bilinear", antialias=True)


def evened(
    images: Float[Tensor, "batch 1 height width"],
) -> Float[Tensor, "batch 1 height width"]:
    """Every pixel less the mean around it, over the spread around it."""
    reach = round(SURROUNDINGS * images.shape[-1])
    detail = images - _around(images, reach)
    variance = _around(detail.square(), reach)
    return detail / (variance + MIN_SPREAD**2).sqrt()


def _around(
    images: Float[Tensor, "batch 1 height width"], reach: int
) -> Float[Tensor, "batch 1 height width"]:
    """Mean over the square around each pixel, as far as the picture goes."""
    return avg_pool2d(images, 1 + 2 * reach, stride=1, padding=reach, count_include_pad=False)
