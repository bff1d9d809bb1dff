"""Encoder with the weights of torchxrayvision's DenseNet-121, given as a safetensors file.

Their own files are pickles of whole Python objects, which run code when they are opened. Convert them once,
where torchxrayvision is installed:

    python -c "import torchxrayvision as xrv; from safetensors.torch import save_file;
    save_file(xrv.models.DenseNet(weights='densenet121-res224-all').state_dict(), 'xrv.safetensors')"
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import interpolate

from model.evaluation.encoders.densenet import NUM_FEATURES, DenseNet121
from model.evaluation.encoders.unusable import EncoderUnusable

INPUT_SIZE = 224
"""Pixels."""
INPUT_RANGE = 1024.0
"""Value of white; black is minus this."""
ENCODED_AT_ONCE = 16
_THRESHOLDS = "op_threshs"
"""Of torchxrayvision's classifier; the features do not need them."""


class XrvEncoder:
    """The 1024 features before the classifier, at 224 pixels."""

    num_features = NUM_FEATURES

    def __init__(self, path: Path) -> None:
        self.name = f"torchxrayvision DenseNet-121, {path.name}"
        self._network = _load(path)

    def features(
        self, images: Float[Tensor, "batch 1 height width"]
    ) -> Float[np.ndarray, "batch feature"]:
        """Features of pictures in [-1, 1], of any size."""
        parts = [np.empty((0, self.num_features), dtype=np.float32)]
        with torch.inference_mode():
            for part in torch.split(images, ENCODED_AT_ONCE):
                sized = interpolate(
                    part, size=(INPUT_SIZE, INPUT_SIZE), mode="bilinear", antialias=True
                )
                parts.append(self._network.pooled(sized.clamp(-1, 1) * INPUT_RANGE).numpy())
        return np.concatenate(parts)


def _load(path: Path) -> DenseNet121:
    """A network with the file's weights.

    Raises:
        EncoderUnusable: not safetensors, or weights of something else.
    """
    if path.suffix != ".safetensors":
        advice = "convert it as model/evaluation/encoders/xrv.py says, where torchxrayvision is installed"
        raise EncoderUnusable(path, "is not a .safetensors file, and pickles run code", advice)
    if not path.is_file():
        raise EncoderUnusable(path, "does not exist", "give the path of the converted weights")
    try:
        weights = load_file(path)
    except SafetensorError:
        raise EncoderUnusable(
            path, "is not safetensors, or cut short", "convert it again"
        ) from None
    weights.pop(_THRESHOLDS, None)
    network = DenseNet121()
    try:
        network.load_state_dict(weights)
    except RuntimeError:
        problem = "does not hold the weights of a DenseNet-121 of one channel and 18 outputs"
        raise EncoderUnusable(path, problem, "convert a densenet121-res224 model") from None
    return network.eval()
