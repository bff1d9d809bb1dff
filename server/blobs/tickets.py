"""Tokens: leave to fetch, to leave, or to announce and leave, the shards of one space for a while, signed by the coordinator.

A token travels inside an authenticated message and is good for nothing but its space, its right and its time, and for
no longer than the hospital that it was given to is a member. It names no file.
"""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from federation.own_boxes import owner_of
from privacy.secret_file import create_secret

Right = Literal["fetch", "leave", "open"]
"""The last one is for a box that the hospital names itself (`own_boxes.owner_of`), and includes leaving what it announced."""

KEY_NAME = "blobs.key"
KEY_BYTES = 32
MAX_TOKEN_CHARS = 1024


class KeyUnusable(RuntimeError):
    """The file with the key was changed by somebody else."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} does not hold a key of {KEY_BYTES} bytes: remove it and restart the coordinator; tickets "
            "that are on their way become invalid, and hospitals ask for new ones."
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """Who got a token, and when."""

    site: str
    since: float
    """Seconds since 1970, UTC."""


class TokenRefused(Exception):
    """A token that does not open what it was shown for."""

    word = "refused"


class TokenExpired(TokenRefused):
    """A token that did, until its time was over."""

    word = "expired"


def load_key(state_path: Path) -> bytes:
    """The coordinator's key for tokens; made on first use, by whichever process comes first.

    Raises:
        KeyUnusable: if the file holds something else.
    """
    path = state_path / KEY_NAME
    if not path.exists():
        create_secret(path, KEY_BYTES)
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise KeyUnusable(path)
    return key


def sign_token(key: bytes, *, site: str, space: str, right: Right, expires: int) -> str:
    """A token.

    Args:
        key: of the coordinator.
        site: the hospital that it is for.
        space: whose shards it is for.
        right: what may be done with them.
        expires: last second in which it is good, since 1970, UTC.
    """
    about = {"site": site, "since": time.time()}
    claims = json.dumps(about | {"space": space, "right": right, "expires": expires}).encode()
    return f"{_encode(claims)}.{_encode(_signature(key, claims))}"


def check_token(key: bytes, token: str, *, space: str, right: Right) -> Given:
    """Whose token this is, if it is ours and good for this, now.

    Raises:
        TokenExpired: if it was, until a while ago.
        TokenRefused: if it is not; nothing says why.
    """
    claims = _claims(key, token)
    if not _is_good_for(claims, space, right):
        raise TokenRefused
    site, since, expires = claims.get("site"), claims.get("since"), claims.get("expires")
    if not (isinstance(site, str) and isinstance(since, float) and isinstance(expires, int)):
        raise TokenRefused
    if time.time() > expires:
        raise TokenExpired
    return Given(site=site, since=since)


def _is_good_for(claims: Mapping[str, object], space: str, right: Right) -> bool:
    """Whether a token that says this opens a space for this."""
    said = claims.get("space"), claims.get("right")
    is_for_owner = right in {"open", "leave"} and said == (owner_of(space), "open")
    return is_for_owner or (right != "open" and said == (space, right))


def _claims(key: bytes, token: str) -> dict[str, object]:
    if len(token) > MAX_TOKEN_CHARS or not token.isascii():
        raise TokenRefused
    body, _, signature = token.partition(".")
    try:
        claims, shown = _decode(body), _decode(signature)
    except ValueError as err:
        raise TokenRefused from err
    if not hmac.compare_digest(shown, _signature(key, claims)):
        raise TokenRefused
    read: dict[str, object] = json.loads(claims)
    return read


def _signature(key: bytes, claims: bytes) -> bytes:
    return hmac.new(key, claims, hashlib.sha256).digest()


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    content = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if _encode(content) != text:
        raise ValueError("bits that mean nothing")
    return content
