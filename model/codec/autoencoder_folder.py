"""The folder that holds somebody's autoencoder: what must be in it, and the digest that names its weights.

The layout is that of the `diffusers` library: ``config.json`` beside ``diffusion_pytorch_model.safetensors``.
Nothing here needs torch, so that a folder is checked at once.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "diffusion_pytorch_model.safetensors"
PICKLE_NAME = "diffusion_pytorch_model.bin"
KINDS = ("AutoencoderKL", "AutoencoderKLFlux2", "AutoencoderDC")


class WrongCodec(ValueError):
    """An autoencoder that cannot be used; the sentence says what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AutoencoderFolder:
    """A folder that is laid out as it must be."""

    path: Path
    kind: str
    """One of ``KINDS``."""
    digest: str
    """SHA-256 over the architecture and the file with the weights, 64 hexadecimal digits."""


def read_folder(path: Path) -> AutoencoderFolder:
    """Check the layout of a folder and name its weights; the weights are read, not loaded.

    Raises:
        WrongCodec: something is missing, or of a kind that is not known.
    """
    if not (path / CONFIG_NAME).is_file():
        raise WrongCodec(
            f"{path} holds no {CONFIG_NAME}: give the folder of an autoencoder as diffusers saves it, "
            f"with {CONFIG_NAME} and {WEIGHTS_NAME}"
        )
    architecture = _read_architecture(path / CONFIG_NAME)
    _require_weights(path)
    kind = architecture.get("_class_name")
    if kind not in KINDS:
        raise WrongCodec(f"{path} holds {kind!r}, not one of {', '.join(KINDS)}: give one of these")
    return AutoencoderFolder(path=path, kind=str(kind), digest=_digest(path, architecture))


def _read_architecture(path: Path) -> dict[str, object]:
    """What the file says of the network; notes of the program that wrote it are dropped."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        notes = [name for name in content if name.startswith("_") and name != "_class_name"]
        return {name: value for name, value in content.items() if name not in notes}
    except (ValueError, AttributeError, TypeError) as err:
        raise WrongCodec(f"{path} is not JSON: copy it again from where it came from") from err


def _require_weights(path: Path) -> None:
    """Raise unless the weights are there in the one format that cannot run code."""
    if (path / WEIGHTS_NAME).is_file():
        return
    if (path / PICKLE_NAME).exists():
        raise WrongCodec(
            f"{path} holds its weights as {PICKLE_NAME}, a format that can run code: get them as "
            f"{WEIGHTS_NAME}, or save them again with safe_serialization=True"
        )
    raise WrongCodec(f"{path} holds no {WEIGHTS_NAME}: copy it there")


def _digest(path: Path, architecture: dict[str, object]) -> str:
    with (path / WEIGHTS_NAME).open("rb") as file:
        weights = hashlib.file_digest(file, "sha256").hexdigest()
    named = json.dumps([architecture, weights], sort_keys=True)
    return hashlib.sha256(named.encode()).hexdigest()
