"""Encoder from anybody's TorchScript file: pictures (batch, 1, height, width) in [-1, 1] to (batch, feature)."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from model.evaluation.encoders.unusable import EncoderUnusable

ENCODED_AT_ONCE = 16
_TRIAL_SIZE = 64


class TorchScriptEncoder:
    """Does its own resizing and scaling."""

    def __init__(self, path: Path) -> None:
        self.name = f"TorchScript, {path.name}"
        try:
            self._network = torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]
        except (RuntimeError, ValueError):
            advice = "give a file that torch.jit.save wrote"
            raise EncoderUnusable(path, "is not a TorchScript file", advice) from None
        self._path = path
        self.num_features = self._encode(torch.zeros(2, 1, _TRIAL_SIZE, _TRIAL_SIZE)).shape[1]

    def features(
        self, images: Float[Tensor, "batch 1 height width"]
    ) -> Float[np.ndarray, "batch feature"]:
        """Features of pictures in [-1, 1]."""
        parts = [np.empty((0, self.num_features), dtype=np.float32)]
        parts += [self._encode(part).numpy() for part in torch.split(images, ENCODED_AT_ONCE)]
        return np.concatenate(parts)

    def _encode(
        self, images: Float[Tensor, "batch 1 height width"]
    ) -> Float[Tensor, "batch feature"]:
        with torch.inference_mode():
            found = self._network(images)
        if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != len(images):
            problem = "does not answer (batch, 1, height, width) with (batch, feature)"
            raise EncoderUnusable(self._path, problem, "wrap it in a module that does")
        return found.float()
