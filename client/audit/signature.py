"""A report's bytes and the hospital's signature to them, in a file of its own.

ECDSA with SHA-384 by the key that the coordinator knows the hospital's node by. Anybody can check it without this
program: ``openssl dgst -sha384 -verify KEY.pem -signature audit.json.sig audit.json``.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key

from federation.node_keys import NodeKey, NodeKeyUnusable

ALGORITHM = ec.ECDSA(SHA384())


class ReportForged(RuntimeError):
    """A file that is not what the hospital signed."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"{path} {why}: do not rely on this audit; have the hospital's data manager make a new one"
        )


def canonical(facts: Mapping[str, object]) -> bytes:
    """One spelling per content: sorted names, no spaces, no NaN, one line."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return f"{text}\n".encode()


def sign(content: bytes, key: NodeKey) -> bytes:
    """The hospital's signature, DER."""
    secret = load_ssh_private_key(key.private_path.read_bytes(), password=None)
    if not isinstance(secret, ec.EllipticCurvePrivateKey):
        raise NodeKeyUnusable(f"{key.private_path} is not an elliptic curve key")
    return secret.sign(content, ALGORITHM)


def check_signed(path: Path, public_key: Path) -> bytes:
    """The content of a signed file.

    Raises:
        ReportForged: the file or its signature is missing, or the key did not sign this content.
        NodeKeyUnusable: that is no public key of a node.
    """
    try:
        content = path.read_bytes()
        signature = path.with_name(f"{path.name}.sig").read_bytes()
    except OSError as err:
        raise ReportForged(path, "or its signature is missing") from err
    try:
        _public(public_key).verify(signature, content, ALGORITHM)
    except InvalidSignature as err:
        raise ReportForged(path, "is not what this key signed") from err
    return content


def fingerprint(public_key: Path) -> str:
    """What ``ssh-keygen -l`` prints of the key."""
    _public(public_key)
    blob = base64.b64decode(public_key.read_bytes().split()[1])
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def _public(path: Path) -> ec.EllipticCurvePublicKey:
    try:
        key = load_ssh_public_key(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as err:
        raise NodeKeyUnusable(f"{path} is not a public key in OpenSSH format") from err
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise NodeKeyUnusable(f"{path} is not an elliptic curve key")
    return key
