"""The files of one round: the tensors that the next round starts from, and the step that led to them."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from federation.files import write_file
from federation.parcel import Parcel
from model.tensor_file import TensorFile
from server.state import StoredStep

WEIGHTS, MOMENTUM, VARIANCE, AVERAGE = "weights", "momentum", "variance", "average"
STEP, STEP_DESCRIPTION = "step.bin", "step.json"


def state_path(folder: Path, name: str) -> Path:
    """Where one set of tensors lies in a round's folder."""
    return folder / f"{name}.safetensors"


def open_files(folder: Path) -> dict[str, TensorFile]:
    """Every set of tensors of a round by its name; there are always weights.

    Raises:
        WrongModelFile: a file is missing or damaged.
    """
    optional = [n for n in (MOMENTUM, VARIANCE, AVERAGE) if state_path(folder, n).exists()]
    return {name: TensorFile(state_path(folder, name)) for name in (WEIGHTS, *optional)}


def round_digest(digests: Mapping[str, str]) -> str:
    """One digest for all files of a round.

    Args:
        digests: Name of each file, such as ``weights``, to the digest of its tensors.
    """
    return hashlib.sha256(json.dumps(dict(digests), sort_keys=True).encode()).hexdigest()


def write_step(folder: Path, step: StoredStep) -> None:
    """Put the description of a step beside its shards."""
    content = {"from_digest": step.from_digest, "parcel": step.parcel.description}
    write_file(folder / STEP_DESCRIPTION, json.dumps(content).encode())


def read_step(folder: Path) -> StoredStep | None:
    """What ``write_step`` wrote; None if the round has no step."""
    path = folder / STEP_DESCRIPTION
    if not path.exists():
        return None
    content = json.loads(path.read_text())
    parcel = Parcel.from_description(content["parcel"])
    return StoredStep(from_digest=content["from_digest"], parcel=parcel)
