"""Invitations on the coordinator's disk: a hash of each secret, until when it counts, and which key has used it."""

import hashlib
import secrets
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

from federation.enrolment import NotEnrolled
from federation.field_types import Digest, SiteName
from federation.files import write_file
from federation.invitation import SECRET_BYTES
from federation.strict_json import parse_json, to_json
from federation.strict_yaml import STRICT
from server.enrolment.opening import enrolment_folder

LIFE = timedelta(hours=72)


@dataclass(frozen=True, kw_only=True, slots=True)
class Invited:
    """One invitation, without its secret."""

    __pydantic_config__: ClassVar = STRICT

    version: int = 1
    site: SiteName
    secret_digest: Digest
    """SHA-256 of the secret; it is long and random, so this does not give it away."""
    expires: datetime
    used_by: str = ""
    """SHA-256 of the key that used it; empty as long as none did. The same key may ask again."""


class CannotEnrol(Exception):
    """The coordinator does not admit who asks; the word tells why."""

    def __init__(self, word: NotEnrolled) -> None:
        super().__init__(str(word))
        self.word = word


def invite(state: Path, site: str) -> bytes:
    """A new secret for this hospital; what it was given before and has not used counts no longer."""
    withdraw_invitations(state, site)
    secret = secrets.token_bytes(SECRET_BYTES)
    invited = Invited(
        site=site,
        secret_digest=hashlib.sha256(secret).hexdigest(),
        expires=datetime.now(UTC) + LIFE,
    )
    _write(state, invited)
    return secret


def withdraw_invitations(state: Path, site: str) -> None:
    """Have every code of this hospital count no longer."""
    for invited in invitations(state):
        if invited.site == site:
            _path(state, invited.secret_digest).unlink(missing_ok=True)


def invitations(state: Path) -> list[Invited]:
    """Every invitation, used or not, in alphabetical order of the hospitals."""
    paths = (enrolment_folder(state) / "invitations").glob("*.json")
    found = [parse_json(str(path), path.read_bytes(), Invited) for path in paths]
    return sorted(found, key=lambda invited: invited.site)


def find_invitation(state: Path, secret: bytes, key_digest: str) -> Invited:
    """The invitation with this secret, if it admits this key.

    Raises:
        CannotEnrol: if there is none, it is over, or another key has used it.
    """
    path = _path(state, hashlib.sha256(secret).hexdigest())
    if not path.exists():
        raise CannotEnrol(NotEnrolled.CODE_UNKNOWN)
    invited = parse_json(str(path), path.read_bytes(), Invited)
    if invited.used_by not in {"", key_digest}:
        raise CannotEnrol(NotEnrolled.CODE_USED)
    if datetime.now(UTC) >= invited.expires:
        raise CannotEnrol(NotEnrolled.CODE_EXPIRED)
    return invited


def mark_used(state: Path, invited: Invited, key_digest: str) -> None:
    """From now on it admits this key alone."""
    _write(state, replace(invited, used_by=key_digest))


def _write(state: Path, invited: Invited) -> None:
    write_file(_path(state, invited.secret_digest), to_json(invited))


def _path(state: Path, secret_digest: str) -> Path:
    return enrolment_folder(state) / "invitations" / f"{secret_digest[:32]}.json"
