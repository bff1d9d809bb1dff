"""Keys and certificates as they stand in files: one after the other, as text."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

_BLOCK = re.compile(rb"-----BEGIN ([A-Z ]+)-----.*?-----END \1-----\n?", re.DOTALL)


def keys_in(path: Path) -> list[ec.EllipticCurvePrivateKey]:
    """Every secret key in a file, of which there is one at least.

    Raises:
        TypeError: if there is none, or one of another kind.
        ValueError: if one cannot be read.
        OSError: if the file cannot.
    """
    blocks = [found[0] for found in _BLOCK.finditer(path.read_bytes())]
    keys = [load_pem_private_key(block, password=None) for block in blocks]
    usable = [key for key in keys if isinstance(key, ec.EllipticCurvePrivateKey)]
    if not usable or len(usable) < len(keys):
        raise TypeError(f"{path.name} does not hold an elliptic curve key")
    return usable


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A secret key as text."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def in_force(certificates: Sequence[x509.Certificate]) -> list[x509.Certificate]:
    """Those that count now."""
    now = datetime.now(UTC)
    return [c for c in certificates if c.not_valid_before_utc <= now < c.not_valid_after_utc]


def certificates_pem(certificates: Sequence[x509.Certificate]) -> bytes:
    """Certificates as text, in this order."""
    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates)
