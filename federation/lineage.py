"""Where a global model comes from, signed by the study authority: a file beside the weights that vouches for the folder.

It names the study, the plan, every round with the hospitals whose changes are in it, and what every file of the folder
holds. Whoever has the authority's public key knows with it that these weights are the ones that the study made.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from federation.field_types import Digest, SiteName, Whole
from federation.files import write_file
from federation.signing import verify
from federation.strict_json import parse_json
from federation.strict_yaml import STRICT, ConfigError
from model.folder import WEIGHTS_NAME, open_weights

LINEAGE_NAME = "lineage.json"
PURPOSE = "fedcxr model lineage 1\n"
"""Signed with every lineage, so that no signature for anything else can pass for one."""
READ_BYTES = 2**20


class ModelNotVouchedFor(RuntimeError):
    """A model whose origin nobody can show."""

    def __init__(self, folder: Path, why: str) -> None:
        super().__init__(
            f"{folder} {why}: do not use this model; have the study's coordinator export it again, and copy it whole"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class LineageRound:
    """One round behind the weights."""

    number: Whole
    digest: Digest
    """Of every tensor that the round left behind."""
    sites: tuple[SiteName, ...]
    """Hospitals whose changes are in it, in alphabetical order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lineage:
    """What is signed."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    study_name: str
    study_digest: Digest
    plan_digest: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
    """Of the plan that the hospitals approved, the last one; empty where there was none."""
    kind: Literal["full", "adapter"]
    rounds: tuple[LineageRound, ...]
    """Of all stages up to these weights."""
    weights_digest: Digest
    parent_digest: str
    """Of the weights that training began with, or of the network under an adapter; empty if nobody knows."""
    files: dict[str, Digest]
    """Every other file of the folder and the SHA-256 of its bytes."""
    release: str
    """Of the program that made the model."""
    seconds: Whole
    """When it was signed, in seconds since 1970, UTC."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SignedLineage:
    """A lineage as it lies in a model's folder."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    lineage: Lineage
    signature: Annotated[str, Field(pattern=r"^([0-9a-f]{2}){64}$")]
    """Ed25519, in hex."""
    authority: str
    """Public key of who signed (PEM). Whoever relies on it compares it with the one that came with the study."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the authority's public key, to be read out."""
        return fingerprint(self.authority.encode())


def fingerprint(public_key: bytes) -> str:
    """SHA-256 of a public key (PEM), in hex."""
    return hashlib.sha256(public_key.strip()).hexdigest()


def signed_bytes(lineage: Lineage) -> bytes:
    """One spelling per lineage."""
    content = json.dumps(asdict(lineage), sort_keys=True, separators=(",", ":"))
    return (PURPOSE + content).encode()


def write_lineage(folder: Path, signed: SignedLineage) -> None:
    """Put a signed lineage beside the weights, last of all files."""
    content = json.dumps(asdict(signed), sort_keys=True, indent=1)
    write_file(folder / LINEAGE_NAME, f"{content}\n".encode(), mode=0o644)


def read_lineage(folder: Path) -> SignedLineage:
    """What a folder says of its origin; nothing of it is checked.

    Raises:
        ModelNotVouchedFor: it says nothing that can be read.
    """
    path = folder / LINEAGE_NAME
    try:
        return parse_json(str(path), path.read_bytes(), SignedLineage)
    except OSError as err:
        raise ModelNotVouchedFor(folder, f"holds no {LINEAGE_NAME}") from err
    except ConfigError as err:
        raise ModelNotVouchedFor(folder, f"holds a {LINEAGE_NAME} that cannot be read") from err


def verify_model(folder: Path, authority: bytes | None = None) -> SignedLineage:
    """Check the signature, every file and every weight of a model's folder.

    Args:
        folder: of a model or an adapter.
        authority: public key (PEM) that must have signed; None believes the one in the folder, so that its
            fingerprint has to be compared.

    Raises:
        ModelNotVouchedFor: something is not as it was signed.
        WrongModelFile: the weights are not what the folder's own manifest says, or there are none.
    """
    signed = read_lineage(folder)
    public = signed.authority.encode()
    if authority is not None and authority.strip() != public.strip():
        raise ModelNotVouchedFor(folder, "is signed by another authority than the one you named")
    if not verify(public, signed_bytes(signed.lineage), bytes.fromhex(signed.signature)):
        raise ModelNotVouchedFor(folder, f"has a {LINEAGE_NAME} that its authority did not sign")
    _check_files(folder, signed.lineage)
    _, manifest = open_weights(folder)
    if manifest.weights_digest != signed.lineage.weights_digest:
        raise ModelNotVouchedFor(folder, "holds other weights than its authority signed")
    return signed


def other_files(folder: Path) -> dict[str, str]:
    """Every file of a model's folder but its weights and its lineage, and the SHA-256 of its bytes.

    Names that begin with a dot are drafts that a killed process left; no program reads them.
    """
    own = {folder / WEIGHTS_NAME, folder / LINEAGE_NAME}
    found = (path for path in folder.rglob("*") if not path.is_dir() and path not in own)
    files = sorted(path for path in found if not path.name.startswith("."))
    return {str(path.relative_to(folder)): _sha256(path) for path in files}


def _check_files(folder: Path, lineage: Lineage) -> None:
    found = other_files(folder)
    for name in sorted({*found, *lineage.files}):
        if name not in lineage.files:
            raise ModelNotVouchedFor(folder, f"holds {name}, which its authority did not sign")
        if found.get(name) != lineage.files[name]:
            raise ModelNotVouchedFor(folder, f"does not hold {name} as its authority signed it")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
    return digest.hexdigest()
