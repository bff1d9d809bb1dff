"""Signatures on bytes: a study authority's key is Ed25519, a hospital's is the elliptic curve key of its node.

Who checks a signature has the public half as PEM, and need not know which of the two kinds it is.
"""

from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
    load_ssh_private_key,
)

from federation.files import write_file

PrivateKey = Ed25519PrivateKey | ec.EllipticCurvePrivateKey

OPENSSH_START = b"-----BEGIN OPENSSH PRIVATE KEY-----"


class SigningKeyUnusable(RuntimeError):
    """A key file that cannot be signed with."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} does not hold a key that can sign: restore it from a backup of this folder."
        )


def make_signing_key(path: Path) -> Ed25519PrivateKey:
    """The Ed25519 key in this file, and its public half (PEM) beside it as ``.pub``; made on first use.

    Raises:
        SigningKeyUnusable: if the file is there but holds no such key.
    """
    if not path.exists():
        made = Ed25519PrivateKey.generate()
        write_file(
            path, made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), mode=0o600
        )
    key = load_private(path)
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningKeyUnusable(path)
    public_path, public = path.with_suffix(".pub"), public_pem(key)
    if not public_path.exists() or public_path.read_bytes() != public:
        write_file(public_path, public, mode=0o644)
    return key


def load_private(path: Path) -> PrivateKey:
    """The key in a file: PKCS8, or OpenSSH as a node's.

    Raises:
        SigningKeyUnusable: if it holds no Ed25519 and no elliptic curve key.
    """
    try:
        content = path.read_bytes()
        load = load_ssh_private_key if content.startswith(OPENSSH_START) else load_pem_private_key
        key = load(content, password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as err:
        raise SigningKeyUnusable(path) from err
    if not isinstance(key, Ed25519PrivateKey | ec.EllipticCurvePrivateKey):
        raise SigningKeyUnusable(path)
    return key


def public_pem(key: PrivateKey) -> bytes:
    """The public half, as PEM."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def sign(key: PrivateKey, content: bytes) -> bytes:
    """A signature on these bytes (Ed25519, or ECDSA with SHA-384)."""
    if isinstance(key, Ed25519PrivateKey):
        return key.sign(content)
    return key.sign(content, ec.ECDSA(SHA384()))


def verify(public: bytes, content: bytes, signature: bytes) -> bool:
    """Whether the holder of this public key (PEM) signed exactly these bytes."""
    try:
        key = load_pem_public_key(public)
        if isinstance(key, Ed25519PublicKey):
            key.verify(signature, content)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, content, ec.ECDSA(SHA384()))
        else:
            return False
    except (ValueError, UnsupportedAlgorithm, InvalidSignature):
        return False
    return True
