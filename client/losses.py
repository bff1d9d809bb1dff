"""The loss of records, and of the records that no training sees."""

import numpy as np
import torch
from torch import Tensor, nn

from client.batches import WHOLE, Batch, Share, read_batch, whole_batch
from client.device import autocast, device_of, kept_precision
from client.training_records import TrainingRecords
from model.config import noise_size
from model.flow import Draws, draw_noise, flow_loss

NUM_HELD_OUT = 64
"""Held-out records that one loss is measured on, at most."""
HELD_OUT_DRAWS = 4
SEEN_AT_ONCE = 8
"""Records that a loss without gradients is computed for at a time; more would only take memory."""


def held_out_loss(
    network: nn.Module, records: TrainingRecords, *, seed: int, share: Share = WHOLE
) -> float:
    """Mean loss on the held-out records with fixed draws, or a share's part of it; NaN if there are none."""
    indices = np.flatnonzero(records.held_out)[:NUM_HELD_OUT]
    if len(indices) == 0:
        return float("nan")
    return _mean_loss(network, read_batch(records, indices, share), seed=seed)


def mean_loss(network: nn.Module, batch: tuple[Tensor, Tensor], *, seed: int) -> float:
    """Loss of a batch with nothing hidden; the seed fixes noise levels and noise, so that networks compare."""
    return _mean_loss(network, whole_batch(batch), seed=seed)


@torch.no_grad()
def _mean_loss(network: nn.Module, batch: Batch, *, seed: int) -> float:
    """A share's part of the mean; every share calls the network as often as the others."""
    generator = torch.Generator().manual_seed(seed)
    draws = draws_of(batch, HELD_OUT_DRAWS, generator)
    network.eval()
    total = 0.0
    for start in range(0, -(-batch.num_records // batch.share.of), SEEN_AT_ONCE):
        few = slice(start, start + SEEN_AT_ONCE)
        with autocast(kept_precision(network), device_of(network)):
            losses = record_losses(
                network, batch.image[few], batch.condition[few], _some(draws, few)
            )
        total += float(losses.sum())
    return total / batch.num_records


def draws_of(batch: Batch, num_draws: int, generator: torch.Generator) -> Draws:
    """Noise for a batch of pixels or latents, at the noise levels that their number of values asks for.

    It is drawn for all records and cut to the share's, so that the number of processes changes nothing.
    """
    _, num_channels, side, _ = batch.shape
    draws = draw_noise(batch.shape, num_draws, noise_size(num_channels, side), generator)
    return _some(draws, batch.part)


def record_losses(network: nn.Module, image: Tensor, condition: Tensor, draws: Draws) -> Tensor:
    """Loss of each record, on the network's device; randomness is drawn on the CPU, the same for every device."""
    device = device_of(network)
    moved = Draws(t=draws.t.to(device), noise=draws.noise.to(device))
    return flow_loss(network, image.to(device), condition.to(device), moved)


def _some(draws: Draws, part: slice) -> Draws:
    return Draws(t=draws.t[part], noise=draws.noise[part])
