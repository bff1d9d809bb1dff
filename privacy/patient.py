"""Patients, and all that identifies them, become opaque keys that only this hospital can compute again."""

import hashlib
import hmac
import json
import stat
from pathlib import Path

from privacy.secret_file import create_secret

SECRET_BYTES = 32
KEY_BYTES = 8
NAME_BYTES = 16
"""Enough that two things never get the same name by chance, however many there are."""


class SecretUnusable(RuntimeError):
    """The hospital's secret exists but must not be used as it is."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"The hospital's secret {path} cannot be used: {reason}. Restore it from the backup of the "
            "state folder; deleting it gives every patient a new key, so ingest all data again afterwards."
        )


def load_or_create_secret(path: Path) -> bytes:
    """Return the hospital's 32 random bytes, making them on first use with mode 0600.

    Two processes that start together end with the same secret: the file appears complete or not at
    all, and whoever comes second reads the winner's.

    Raises:
        SecretUnusable: the file has the wrong length, or others may read it.
    """
    if not path.exists():
        create_secret(path, SECRET_BYTES)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise SecretUnusable(
            path, f"its mode is {mode:04o} and must be 0600 (type: chmod 600 {path})"
        )
    secret = path.read_bytes()
    if len(secret) != SECRET_BYTES:
        raise SecretUnusable(path, f"it holds {len(secret)} bytes instead of {SECRET_BYTES}")
    return secret


def patient_key(secret: bytes, *, patient_id: str, issuer: str) -> int:
    """Map a patient to an opaque key in [0, 2**64); without an id, to the one shared unknown patient.

    Radiographs without a patient id might all show the same person, so they count as one.
    """
    name = patient_id.strip()
    if not name:
        return unknown_patient_key(secret)
    return _key(secret, "patient", issuer.strip(), name)


def unknown_patient_key(secret: bytes) -> int:
    """Key of the pooled patient to whom all radiographs without an id belong."""
    return _key(secret, "unknown patient")


def record_key(secret: bytes, *, instance_uid: str) -> int:
    """Opaque key of one radiograph: orders records the same way wherever and however they are stored."""
    return _key(secret, "record", instance_uid.strip())


def link_key(secret: bytes, kind: str, identifier: str) -> int:
    """Opaque key that joins a record to whatever else bears the identifier; 0, for an empty one, joins nothing.

    Args:
        secret: The hospital's.
        kind: What the identifier names, such as a study or a patient: equal identifiers of two kinds differ.
        identifier: As found in a header, a table or a file name.
    """
    name = identifier.strip()
    return _key(secret, "link", kind, name) if name else 0


def opaque_name(secret: bytes, *parts: str) -> bytes:
    """16 bytes that stand for the parts and cannot be turned back into them."""
    return _digest(secret, "name", *parts)[:NAME_BYTES]


def _key(secret: bytes, *parts: str) -> int:
    return int.from_bytes(_digest(secret, *parts)[:KEY_BYTES], "big")


def _digest(secret: bytes, *parts: str) -> bytes:
    # JSON keeps ("ab", "c") and ("a", "bc") apart; ASCII escapes survive any mangled header text.
    message = json.dumps(parts).encode("ascii")
    return hmac.new(secret, message, hashlib.sha256).digest()
