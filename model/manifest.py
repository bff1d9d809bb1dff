"""What stands beside a model's weights: its architecture, and which study made it from what.

A manifest can be read without torch, so that a command can list models at once.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from model.arrays import WrongModelFile, replacing
from model.config import AdapterConfig, ModelConfig

FORMAT_VERSION = 1
MANIFEST_NAME = "manifest.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """Description of one set of weights."""

    model: ModelConfig
    """Architecture of the whole network."""

    findings: tuple[str, ...]
    """Findings of the schema, in the order of the condition."""

    kind: Literal["full", "adapter"]
    """Whether the weights are the whole network or a low-rank adapter to it."""

    adapter: AdapterConfig | None
    """Shape of the adapter; None for a whole network."""

    study_name: str
    """Name of the study that trained the weights."""

    study_digest: str
    """Digest of the study's plan."""

    rounds: int
    """Rounds of training behind the weights."""

    sites: tuple[str, ...]
    """Hospitals whose changes are in the weights."""

    parent_digest: str | None
    """Digest of the weights that training began with, None for a fresh network; for an adapter,
    of the network that it belongs to."""

    weights_digest: str
    """What ``digest_arrays`` gives for the weights."""

    site_numbers: Mapping[str, int] = field(default_factory=dict)
    """Hospital -> the number that stands for it in a condition, 1 to 32."""

    codec_digest: str | None = None
    """Digest of the frozen autoencoder whose latents the network draws; None for pixels."""

    distilled_steps: int | None = None
    """Sampling steps that the network was distilled to; None for one that follows the flow."""

    format_version: int = FORMAT_VERSION
    """Layout of the folder; raised when older programs could not read it."""

    def __post_init__(self) -> None:
        if (self.kind == "adapter") != (self.adapter is not None):
            raise ValueError(f"a manifest of kind {self.kind!r} has adapter {self.adapter}")
        if self.rounds < 0:
            raise ValueError(f"rounds is {self.rounds}, it must be at least 0")


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest as JSON, atomically."""
    with replacing(folder / MANIFEST_NAME) as partial:
        partial.write_text(json.dumps(asdict(manifest), indent=2) + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> Manifest:
    """Read what ``write_manifest`` wrote.

    Raises:
        WrongModelFile: no manifest, a damaged one, or one from another version of the format.
    """
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise WrongModelFile(path, "does not exist", "give the folder of a saved model")
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        version = json.loads(text)["format_version"]
        manifest = _from_json(text) if version == FORMAT_VERSION else None
    except (ValueError, TypeError, KeyError) as err:
        raise WrongModelFile(path, "is not a complete manifest") from err
    if manifest is None:
        problem = f"has format {version}, this program reads format {FORMAT_VERSION}"
        raise WrongModelFile(path, problem, "use the program version that wrote it")
    return manifest


def _from_json(text: str) -> Manifest:
    """Dataclasses and tuples from JSON's dictionaries and lists; raises on anything missing."""
    content = json.loads(text)
    adapter = content["adapter"]
    if adapter is not None:
        adapter = AdapterConfig(**{**adapter, "targets": tuple(adapter["targets"])})
    changes = {
        "model": ModelConfig(**content["model"]),
        "adapter": adapter,
        "findings": tuple(content["findings"]),
        "sites": tuple(content["sites"]),
    }
    return Manifest(**{**content, **changes})
