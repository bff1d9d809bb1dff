"""The key pair by which the coordinator recognises a hospital's node; the secret half never leaves.

Flower wants an elliptic curve key of the NIST family in OpenSSH format; the public half is one line of text
that a person can read out, ending in the hospital's name.
"""

from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
    load_ssh_public_key,
)

from federation.files import write_file


class NodeKeyUnusable(RuntimeError):
    """A key file that Flower would not accept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeKey:
    """Where a hospital keeps its key pair."""

    private_path: Path
    public_path: Path


def make_node_key(state_path: Path, site_name: str) -> NodeKey:
    """This hospital's key pair (P-384); made on first use, kept for ever after.

    Raises:
        NodeKeyUnusable: if the file with the secret key is damaged.
    """
    files = NodeKey(private_path=state_path / "node.key", public_path=state_path / "node.key.pub")
    if not files.private_path.exists():
        key = ec.generate_private_key(ec.SECP384R1())
        write_file(
            files.private_path,
            key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()),
        )
    line = _public_line(_load_private(files.private_path), site_name)
    if not files.public_path.exists() or files.public_path.read_bytes() != line:
        write_file(files.public_path, line, mode=0o644)
    return files


def publish_public_key(key: NodeKey, target_path: Path) -> None:
    """Put a copy of the public half where the coordinator can find it, unless it is there already."""
    line = key.public_path.read_bytes()
    if not target_path.exists() or target_path.read_bytes() != line:
        write_file(target_path, line, mode=0o644)


def read_public_key(path: Path) -> bytes:
    """The public key of an OpenSSH ``.pub`` file, as PEM, the form in which Flower stores it.

    Raises:
        NodeKeyUnusable: if it is not the public half of an elliptic curve key of the NIST family.
    """
    try:
        key = load_ssh_public_key(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as err:
        raise NodeKeyUnusable(f"{path.name} is not a public key in OpenSSH format") from err
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise NodeKeyUnusable(f"{path.name} is not an elliptic curve key")
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _load_private(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_ssh_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, UnsupportedAlgorithm) as err:
        raise NodeKeyUnusable(
            f"{path} is damaged: restore it from a backup, or remove it and ask the coordinator "
            "to admit the new public key that is made in its place."
        ) from err
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise NodeKeyUnusable(f"{path} is not an elliptic curve key: remove it to have one made.")
    return key


def _public_line(key: ec.EllipticCurvePrivateKey, site_name: str) -> bytes:
    line = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return line + f" {site_name}\n".encode()
