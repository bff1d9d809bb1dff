"""The network: a noisy radiograph, its noise level and its condition in, the radiograph out.

One stream of tokens: patches of pixels, one token per attribute, and a few registers. The noise
level and the mean of the attributes also steer every block through one shared modulation with a
learned offset per block. (De Sousa Ribeiro et al. 2026, https://arxiv.org/abs/2606.19460, for the
task; Li and He 2025, https://arxiv.org/abs/2511.13720, for predicting the image from large patches.)

Differential privacy shapes the code: every parameter sits in a Linear, an Embedding or an RMSNorm
that is called once per forward pass, with the record as the first of at most three axes. No part
mixes two records.
"""

import math
from contextlib import nullcontext

import torch
import torch.nn.functional as F  # noqa: N812  the name every reader knows
from jaxtyping import Float
from torch import Tensor, nn

from model.block import Block, apply_layer, modulate
from model.conditioning import Schema
from model.config import ModelConfig
from model.patches import patchify, unpatchify
from model.recompute import FirstPass, recomputed
from model.rope import rotation
from model.tokens import tokenise

TIME_CHANNELS = 256


class RectifiedFlowTransformer(nn.Module):
    """Predicts the clean image; the velocity follows from it (``model.flow``)."""

    recompute: bool = False
    """Whether training trades time for memory (``model.recompute``); may be set at any time."""
    first_pass: FirstPass
    """What then surrounds the first of the two passes; nothing by default."""

    def __init__(self, config: ModelConfig, schema: Schema) -> None:
        super().__init__()
        self.config, self.schema, self.first_pass = config, schema, nullcontext
        dim = config.dim
        self.patch_down = nn.Linear(config.patch_values, config.bottleneck_dim, bias=False)
        self.patch_up = nn.Linear(config.bottleneck_dim, dim)
        self.attributes = nn.Embedding(schema.num_embeddings, dim)
        self.registers = nn.Embedding(config.num_registers, dim)
        self.time_first, self.time_second = nn.Linear(TIME_CHANNELS, dim), nn.Linear(dim, dim)
        self.pool = nn.Linear(dim, dim)
        self.mod = nn.Linear(dim, 6 * dim)
        self.mod_offset = nn.Embedding(config.depth, 6 * dim)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.head_mod = nn.Linear(dim, 2 * dim)
        self.head = nn.Linear(dim, config.patch_values)

    def forward(
        self,
        noisy: Float[Tensor, "batch draw channel height width"],
        t: Float[Tensor, "batch draw"],
        condition: Float[Tensor, "batch draw attribute"],
    ) -> Float[Tensor, "batch draw channel height width"]:
        """Predict the image behind every draw.

        Args:
            noisy: points between image and noise; sides are multiples of the patch size.
            t: noise levels in [0, 1]; 0 is the image, 1 is noise.
            condition: age in years or NaN, then ids with 0 for null.
        """
        embedded = self._embed_attributes(condition)
        signal = F.silu(self._embed_time(t) + self.pool(embedded.mean(dim=2)))
        grid = (
            noisy.shape[-2] // self.config.patch_size,
            noisy.shape[-1] // self.config.patch_size,
        )
        patches = patchify(noisy, self.config.patch_size)
        x = apply_layer(self.patch_up, apply_layer(self.patch_down, patches)).float()
        x = self._run_blocks(x, self._context(embedded), signal, grid)
        scale, shift = self.head_mod(signal).unsqueeze(2).chunk(2, dim=-1)
        pixels = apply_layer(self.head, modulate(x, scale, shift))
        return unpatchify(pixels.to(noisy.dtype), grid, self.config.patch_size)

    def _embed_attributes(
        self, condition: Float[Tensor, "batch draw attribute"]
    ) -> Float[Tensor, "batch draw attribute dim"]:
        """One token per attribute."""
        rows, weights = tokenise(self.schema, condition)
        slots = self.attributes(rows.flatten(1)).unflatten(1, rows.shape[1:])
        slots = slots * weights.unsqueeze(-1)
        age = slots[:, :, :2].sum(dim=2, keepdim=True)
        return torch.cat([age, slots[:, :, 2:]], dim=2)

    def _embed_time(self, t: Float[Tensor, "batch draw"]) -> Float[Tensor, "batch draw dim"]:
        """Noise level as waves of many lengths, then a small network."""
        half = TIME_CHANNELS // 2
        steps = torch.arange(half, device=t.device) / half
        angles = 1000 * t.unsqueeze(-1) * torch.exp(-math.log(10_000) * steps)
        waves = torch.cat([angles.cos(), angles.sin()], dim=-1)
        embedded: Tensor = self.time_second(F.silu(self.time_first(waves)))
        return embedded

    def _context(
        self, embedded: Float[Tensor, "batch draw attribute dim"]
    ) -> Float[Tensor, "batch draw context dim"]:
        """Attribute tokens and registers."""
        num_records, num_draws = embedded.shape[:2]
        numbers = torch.arange(self.config.num_registers, device=embedded.device)
        registers = self.registers(numbers.repeat(num_records, 1)).unsqueeze(1)
        return torch.cat([embedded, registers.expand(-1, num_draws, -1, -1)], dim=2)

    def _run_blocks(
        self,
        x: Float[Tensor, "batch draw patch dim"],
        context: Float[Tensor, "batch draw context dim"],
        signal: Float[Tensor, "batch draw dim"],
        grid: tuple[int, int],
    ) -> Float[Tensor, "batch draw patch dim"]:
        """All blocks; the context joins on the way and leaves at the end."""
        modulation = self._modulation(signal)
        num_context = 0
        for number, block in enumerate(self.blocks):
            if number == self.config.context_start:
                x, num_context = torch.cat([context, x], dim=2), context.shape[2]
            angles = rotation(
                *grid, num_unplaced=num_context, head_dim=self.config.head_dim, device=x.device
            )
            arguments = x, modulation[:, :, number], angles
            if self.recompute:
                x = recomputed(block, *arguments, first_pass=self.first_pass)
            else:
                x = block(*arguments)
        return x[:, :, num_context:]

    def _modulation(
        self, signal: Float[Tensor, "batch draw dim"]
    ) -> Float[Tensor, "batch draw depth 6 dim"]:
        """What every block gets: the shared part plus its own offset."""
        numbers = torch.arange(self.config.depth, device=signal.device)
        offsets = self.mod_offset(numbers.repeat(len(signal), 1)).unsqueeze(1)
        modulation: Tensor = self.mod(signal).unsqueeze(2) + offsets
        return torch.unflatten(modulation, -1, (6, self.config.dim))
