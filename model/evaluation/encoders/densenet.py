"""DenseNet-121 for radiographs, with the parameter names of the torchxrayvision weights.

(Huang et al. 2017, https://arxiv.org/abs/1608.06993; Cohen et al. 2022, https://arxiv.org/abs/2111.00595.)
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

GROWTH = 32
"""Channels that every layer adds."""
BLOCKS = (6, 12, 24, 16)
"""Layers per block."""
FIRST_CHANNELS = 64
BOTTLENECK = 4 * GROWTH
NUM_FEATURES = 1024
NUM_OUTPUTS = 18


class DenseNet121(nn.Module):
    """Reads (batch, 1, 224, 224) in [-1024, 1024]."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential()
        self.features.add_module("conv0", nn.Conv2d(1, FIRST_CHANNELS, 7, 2, 3, bias=False))
        self.features.add_module("norm0", nn.BatchNorm2d(FIRST_CHANNELS))
        self.features.add_module("relu0", nn.ReLU())
        self.features.add_module("pool0", nn.MaxPool2d(3, 2, 1))
        channels = FIRST_CHANNELS
        for number, num_layers in enumerate(BLOCKS, start=1):
            self.features.add_module(f"denseblock{number}", _block(channels, num_layers))
            channels += num_layers * GROWTH
            if number < len(BLOCKS):
                self.features.add_module(f"transition{number}", _transition(channels))
                channels //= 2
        self.features.add_module("norm5", nn.BatchNorm2d(channels))
        self.classifier = nn.Linear(channels, NUM_OUTPUTS)

    def pooled(
        self, images: Float[Tensor, "batch 1 height width"]
    ) -> Float[Tensor, "batch feature"]:
        """The features that the classifier decides by."""
        grid: Tensor = self.features(images)
        return torch.relu(grid).mean(dim=(2, 3))

    def forward(
        self, images: Float[Tensor, "batch 1 height width"]
    ) -> Float[Tensor, "batch output"]:
        """Numbers before any sigmoid."""
        outputs: Tensor = self.classifier(self.pooled(images))
        return outputs


class _DenseLayer(nn.Module):
    """Adds channels to those that it saw."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, BOTTLENECK, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(BOTTLENECK)
        self.conv2 = nn.Conv2d(BOTTLENECK, GROWTH, 3, padding=1, bias=False)

    def forward(self, grid: Tensor) -> Tensor:
        narrow = self.conv1(torch.relu(self.norm1(grid)))
        return torch.cat([grid, self.conv2(torch.relu(self.norm2(narrow)))], dim=1)


def _block(channels: int, num_layers: int) -> nn.Sequential:
    block = nn.Sequential()
    for number in range(num_layers):
        block.add_module(f"denselayer{number + 1}", _DenseLayer(channels + number * GROWTH))
    return block


def _transition(channels: int) -> nn.Sequential:
    """Half the channels, half the sides."""
    transition = nn.Sequential()
    transition.add_module("norm", nn.BatchNorm2d(channels))
    transition.add_module("relu", nn.ReLU())
    transition.add_module("conv", nn.Conv2d(channels, channels // 2, 1, bias=False))
    transition.add_module("pool", nn.AvgPool2d(2, 2))
    return transition
