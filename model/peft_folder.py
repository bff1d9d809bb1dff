"""An adapter in PEFT's own two files, for tools that know nothing of this project."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.arrays import Arrays, WrongModelFile, replacing
from model.config import AdapterConfig
from model.tensor_file import TensorFile, write_tensors
from model.tensors import as_tensors, pieces_of

PEFT_PREFIX = "base_model.model."
PEFT_WEIGHTS, PEFT_CONFIG = "adapter_model.safetensors", "adapter_config.json"


def save_adapter(folder: Path, arrays: Arrays, config: AdapterConfig) -> None:
    """Write the two files that ``peft.PeftModel.from_pretrained(network, folder)`` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = as_tensors(arrays)
    shapes = {PEFT_PREFIX + name: shape for name, shape in tensors.shapes.items()}
    with write_tensors(folder / PEFT_WEIGHTS, shapes, {"format": "pt"}) as writer:
        for piece in pieces_of(tensors.shapes):
            writer.put(replace(piece, name=PEFT_PREFIX + piece.name), tensors.piece(piece))
    description = {
        "peft_type": "LORA",
        "r": config.rank,
        "lora_alpha": config.alpha,
        "target_modules": list(config.targets),
        "inference_mode": True,
    }
    with replacing(folder / PEFT_CONFIG) as partial:
        partial.write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def read_adapter(folder: Path) -> tuple[dict[str, NDArray[np.float32]], AdapterConfig]:
    """Read what ``save_adapter`` wrote.

    Raises:
        WrongModelFile: a file is missing or damaged.
    """
    path = folder / PEFT_CONFIG
    if not path.is_file():
        raise WrongModelFile(path, "does not exist", "give the folder of a saved adapter")
    try:
        content = json.loads(path.read_text(encoding="utf-8", errors="replace"))
        targets = tuple(content["target_modules"])
        config = AdapterConfig(rank=content["r"], alpha=content["lora_alpha"], targets=targets)
    except (ValueError, TypeError, KeyError) as err:
        raise WrongModelFile(path, "is not a complete adapter description") from err
    arrays = TensorFile(folder / PEFT_WEIGHTS)
    return {name.removeprefix(PEFT_PREFIX): array for name, array in arrays.items()}, config
