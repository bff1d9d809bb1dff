"""A small model that is audited: its shape and folder, and how it learns radiographs by heart."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.arrays import Arrays, digest_arrays
from model.conditioning import FINDINGS
from model.config import ModelConfig
from model.flow import Draws, flow_loss
from model.folder import save_model
from model.manifest import Manifest
from model.transformer import RectifiedFlowTransformer
from privacy.audit.membership import NOISE_LEVELS

SIDE, NUM_PATIENTS, IMAGES = 16, 12, 2
STUDY = "a" * 64
CONFIG = ModelConfig(
    size="tiny",
    image_size=SIDE,
    patch_size=8,
    dim=64,
    depth=1,
    head_dim=32,
    hidden_dim=128,
    bottleneck_dim=32,
    num_registers=1,
    context_start=0,
)


def saved(folder: Path, arrays: Arrays, **choices: Any) -> Path:  # noqa: ANN401
    """A model folder."""
    manifest = Manifest(
        **{
            "model": CONFIG,
            "findings": FINDINGS,
            "kind": "full",
            "adapter": None,
            "study_name": "toy",
            "study_digest": STUDY,
            "rounds": 3,
            "sites": ("a",),
            "parent_digest": None,
            "weights_digest": digest_arrays(arrays),
            "site_numbers": {"a": 1},
            **choices,
        }
    )
    save_model(folder, arrays, manifest)
    return folder


def train(
    network: RectifiedFlowTransformer, image: Tensor, rows: np.ndarray, *, num_steps: int
) -> None:
    """Plain training on a few radiographs, again and again."""
    condition = torch.from_numpy(rows[: len(image)])
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    generator = torch.Generator().manual_seed(1)
    for _ in range(num_steps):
        chosen = torch.randint(len(NOISE_LEVELS), (len(image), 1), generator=generator)
        noise = torch.randn(len(image), 1, 1, SIDE, SIDE, generator=generator)
        draws = Draws(t=torch.tensor(NOISE_LEVELS)[chosen], noise=noise)
        optimizer.zero_grad()
        torch.autograd.backward(flow_loss(network, image, condition, draws).mean())
        optimizer.step()
