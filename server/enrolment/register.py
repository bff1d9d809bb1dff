"""Who is a member, on the coordinator's disk: the key of each hospital, its certificate, and the keys taken back.

The roster's folder stays what admits a hospital; enrolment writes the files into it that a person would.
"""

import hashlib
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from federation.field_types import Digest, SiteName
from federation.files import hold_lock, write_file
from federation.node_keys import NodeKeyUnusable, read_public_key
from federation.strict_json import parse_json, to_json
from federation.strict_yaml import STRICT
from server.enrolment.invitations import withdraw_invitations
from server.enrolment.opening import enrolment_folder

LOCK_SECONDS = 10.0


class NoSuchHospital(ValueError):
    """A name that the coordinator does not know."""

    def __init__(self, site: str) -> None:
        super().__init__(
            f"no hospital of the roster is called {site!r}: `fedcxr coordinator roster` shows their names."
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class TakenBack:
    """A key that never counts again."""

    site: SiteName
    key: Digest
    """SHA-256 of the public key."""
    when: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Revoked:
    """All keys that were taken back."""

    __pydantic_config__: ClassVar = STRICT

    version: int = 1
    keys: tuple[TakenBack, ...] = ()


def changing(state: Path) -> AbstractContextManager[None]:
    """Be the only one that changes the register.

    Raises:
        AlreadyRunning: if someone else takes too long over it.
    """
    return hold_lock(enrolment_folder(state) / "lock", patience_seconds=LOCK_SECONDS)


def digest_of_key(public_key: bytes) -> str:
    """SHA-256 of a public key (PEM), whatever its line breaks."""
    key = load_pem_public_key(public_key)
    return hashlib.sha256(
        key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ).hexdigest()


def enter(
    state: Path, roster: Path, site: str, public_key: bytes, certificate: x509.Certificate
) -> None:
    """Make a hospital a member, in the place of whatever key it had before."""
    keep_certificate(state, site, certificate)
    line = load_pem_public_key(public_key).public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    target = roster / f"{site}.pub"
    write_file(target, line + f" {site}\n".encode(), mode=0o644)
    for other in roster.rglob(target.name):
        if other != target:
            other.unlink()


def keep_certificate(state: Path, site: str, certificate: x509.Certificate) -> None:
    """Remember a hospital's current certificate."""
    write_file(_certificate_path(state, site), certificate.public_bytes(Encoding.PEM), mode=0o644)


def certificate_of(state: Path, site: str) -> x509.Certificate | None:
    """A hospital's current certificate; None if it was admitted without one."""
    path = _certificate_path(state, site)
    return x509.load_pem_x509_certificate(path.read_bytes()) if path.exists() else None


def revoked(state: Path) -> Revoked:
    """The keys that were taken back.

    Raises:
        ConfigError: if the file is damaged; then nobody is let in.
    """
    path = revoked_path(state)
    if not path.exists():
        return Revoked()
    return parse_json(str(path), path.read_bytes(), Revoked)


def revoked_path(state: Path) -> Path:
    """Where they are written."""
    return enrolment_folder(state) / "revoked.json"


def revoke(state: Path, roster: Path, site: str) -> None:
    """Shut a hospital out: its key, its certificate and its invitations count no longer.

    Raises:
        NoSuchHospital: if there is none of this name.
    """
    with changing(state):
        files = sorted(roster.rglob(f"{site}.pub"))
        if not files:
            raise NoSuchHospital(site)
        withdraw_invitations(state, site)
        keys = [key for path in files if (key := _readable_key(path))]
        _add(state, [TakenBack(site=site, key=key, when=datetime.now(UTC)) for key in keys])
        for path in files:
            path.unlink()
        _certificate_path(state, site).unlink(missing_ok=True)


def _add(state: Path, more: list[TakenBack]) -> None:
    """Before the roster's file goes: a crash in between leaves the key refused, not unknown."""
    kept = Revoked(keys=(*revoked(state).keys, *more))
    write_file(revoked_path(state), to_json(kept))


def _readable_key(path: Path) -> str:
    try:
        return digest_of_key(read_public_key(path))
    except NodeKeyUnusable:
        return ""


def _certificate_path(state: Path, site: str) -> Path:
    return enrolment_folder(state) / "certificates" / f"{site}.crt"
