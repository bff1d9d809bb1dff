"""How a picture came about: enough to draw it again, and nothing about a patient."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import version
from typing import Literal

from model.sampler import Sampling

PROGRAM = "fedcxr"


@cache
def _own_version() -> str:
    return version(PROGRAM)


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """The origin of one synthetic picture."""

    kind: Literal["generated", "edited"]
    """Drawn from noise, or made from a real radiograph."""

    model_digest: str
    """Of the whole network's weights, below the adapter."""

    adapter_digest: str | None
    """Of the adapter's weights; None without an adapter."""

    condition: Mapping[str, str]
    """Attribute -> value in words; attributes that were left open are missing."""

    seed: int
    sampling: Sampling
    number: int = 0
    """Which picture of the seed."""

    edits: Mapping[str, str] = field(default_factory=dict)
    """Attribute -> the value that an edit gave it; empty for a generated picture."""

    program_version: str = field(default_factory=_own_version)

    def facts(self) -> dict[str, object]:
        """Plain data, the same for equal provenances."""
        return {"program": PROGRAM, **asdict(self)}

    def text(self) -> str:
        """As JSON on one line, with the keys in order."""
        return json.dumps(self.facts(), sort_keys=True, separators=(",", ":"))

    def sentence(self) -> str:
        """For a person who looks at the picture's header."""
        walk = f"{self.sampling.num_steps} steps of {self.sampling.method}"
        push = f"guidance {self.sampling.guidance.scale:g}"
        made = "Synthetic radiograph" if self.kind == "generated" else "Edited radiograph"
        model = f"model {self.model_digest[:12]}"
        if self.adapter_digest is not None:
            model += f" with adapter {self.adapter_digest[:12]}"
        parts = [
            f"{made}, not for diagnosis: {PROGRAM} {self.program_version}, {model}",
            f"seed {self.seed}, picture {self.number}, {walk}, {push}",
            f"condition: {_listed(self.condition)}",
        ]
        if self.edits:
            parts.append(f"edited: {_listed(self.edits)}")
        return "; ".join(parts)


def digest_of(*parts: bytes) -> bytes:
    """SHA-256 over parts that cannot run into one another."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()


def _listed(values: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(values.items())) or "open"
