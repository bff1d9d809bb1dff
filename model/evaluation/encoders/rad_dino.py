"""Encoder with the weights of RAD-DINO or another DINOv2, given as a folder in the Hugging Face format.

(Perez-Garcia et al. 2025, https://arxiv.org/abs/2401.10815.) Needs ``config.json`` and ``model.safetensors``;
``preprocessor_config.json`` is obeyed where present. Nothing is fetched from anywhere. Pictures are resized
by Pillow on 8-bit values, as in the processor that belongs to the weights.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from model.evaluation.encoders.unusable import EncoderUnusable

if TYPE_CHECKING:
    from transformers import Dinov2Model

ENCODED_AT_ONCE = 8
AGAIN = "download the encoder's folder again"


@dataclass(frozen=True, kw_only=True, slots=True)
class Preprocessing:
    """How a square picture becomes the network's input; the defaults are those of DINOv2 at 518 pixels."""

    size: int = 518
    """Pixels that the picture is resized to."""
    crop: int = 518
    """Pixels of the middle that the network reads."""
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    """Per channel, of pixels in [0, 1]."""
    spread: tuple[float, ...] = (0.229, 0.224, 0.225)
    """Standard deviation per channel."""


class RadDinoEncoder:
    """What the folder's DINOv2 says of a whole picture: its first token, after the last norm."""

    def __init__(self, path: Path) -> None:
        self._network = _load(path)
        self._preprocessing = _preprocessing(path)
        self.num_features: int = self._network.config.hidden_size
        self.name = f"RAD-DINO format, {path.name}"

    def features(
        self, images: Float[Tensor, "batch 1 height width"]
    ) -> Float[np.ndarray, "batch feature"]:
        """Features of pictures in [-1, 1], of any size."""
        parts = [np.empty((0, self.num_features), dtype=np.float32)]
        with torch.inference_mode():
            for part in torch.split(images, ENCODED_AT_ONCE):
                pixels = network_input(part, self._preprocessing)
                parts.append(self._network(pixel_values=pixels).pooler_output.numpy())
        return np.concatenate(parts)


def network_input(
    images: Float[Tensor, "batch 1 height width"], preprocessing: Preprocessing
) -> Float[Tensor, "batch 3 side side"]:
    """Three equal channels of the resized picture, each with its mean and spread."""
    grey = ((images[:, 0].clamp(-1, 1) + 1) * 127.5).round().byte().numpy()
    sized = torch.from_numpy(np.stack([_resized(picture, preprocessing) for picture in grey]))
    mean, spread = (
        torch.tensor(values).reshape(1, 3, 1, 1)
        for values in (preprocessing.mean, preprocessing.spread)
    )
    return (sized.float()[:, None] / 255 - mean) / spread


def _resized(
    picture: UInt8[np.ndarray, "height width"], preprocessing: Preprocessing
) -> UInt8[np.ndarray, "side side"]:
    size, crop = preprocessing.size, preprocessing.crop
    sized = np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC))
    edge = (size - crop) // 2
    return sized[edge : edge + crop, edge : edge + crop]


def _load(path: Path) -> "Dinov2Model":
    """The folder's network.

    Raises:
        EncoderUnusable: transformers is missing, or the folder is not of a DINOv2.
    """
    if not (path / "config.json").is_file() or not (path / "model.safetensors").is_file():
        problem = "is not a folder with config.json and model.safetensors"
        raise EncoderUnusable(path, problem, "give the folder as it was downloaded")
    if _json(path / "config.json").get("model_type") != "dinov2":
        advice = "use RAD-DINO, or another encoder of this kind"
        raise EncoderUnusable(path, "is not of a DINOv2", advice)
    try:
        import transformers  # noqa: PLC0415  optional, and slow to import
    except ImportError:
        advice = "type: pip install 'fedcxr[encoders]'"
        raise EncoderUnusable(path, "needs the package transformers", advice) from None
    try:
        network, missing = _read(path, transformers)
    except Exception as err:
        raise EncoderUnusable(path, "cannot be read", AGAIN) from err
    if missing:
        raise EncoderUnusable(path, "lacks weights", AGAIN)
    network.requires_grad_(requires_grad=False)
    return network


def _read(path: Path, transformers: Any) -> tuple["Dinov2Model", set[str]]:  # noqa: ANN401  hardly typed
    """The network, ready to use, and the names of the weights that the file does not hold."""
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    network, loading = transformers.Dinov2Model.from_pretrained(
        path, local_files_only=True, use_safetensors=True, output_loading_info=True
    )
    return network, set(loading["missing_keys"])


def _preprocessing(path: Path) -> Preprocessing:
    """What the folder says of the network's input; a picture is square, so the shortest edge is every edge."""
    file = path / "preprocessor_config.json"
    found, usual = _json(file) if file.is_file() else {}, Preprocessing()
    size = found.get("size", {})
    side = int(size.get("shortest_edge", size.get("height", usual.size)))
    crop = found.get("crop_size", {}).get("height", side) if found.get("do_center_crop") else side
    return Preprocessing(
        size=side,
        crop=min(int(crop), side),
        mean=tuple(found.get("image_mean", usual.mean)),
        spread=tuple(found.get("image_std", usual.spread)),
    )


def _json(file: Path) -> dict[str, Any]:
    """Contents of a JSON file.

    Raises:
        EncoderUnusable: it is none.
    """
    try:
        found: dict[str, Any] = json.loads(file.read_text())
    except ValueError:
        raise EncoderUnusable(file, "is not JSON", AGAIN) from None
    return found
