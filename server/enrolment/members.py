"""The gateway's question before every call of a node: is this key a member's, and its certificate in force?

Flower proves that the caller holds the key; this says whether the key still counts, and whether a ticket that was given
to a hospital does. Files are looked at again once a second, so a revocation takes effect at once, also in the middle of
a round.
"""

import base64
import binascii
import contextlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from federation.enrolment import CERTIFICATE_HEADER, KEY_HEADER, Refused, site_of, why_refused
from federation.strict_yaml import ConfigError
from server.enrolment.opening import enrolment_folder, opening_path
from server.enrolment.register import TakenBack, digest_of_key, revoked, revoked_path
from server.roster_keys import fingerprint, read_roster

logger = logging.getLogger(__name__)

MAX_HEADER_CHARS = 8192
LOOK_SECONDS = 1.0
SEEN_SECONDS = 15.0
"""Between two writings of who was seen when."""

Headers = Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Who calls, by what it shows."""

    public_key: bytes
    """PEM."""
    certificate: x509.Certificate | None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Known:
    """What the files say."""

    names: Mapping[bytes, str]
    """Site name by public key (PEM)."""
    unsettled: frozenset[str]
    """Names whose file in the roster is damaged; nobody is shut out because of that."""
    taken_back: Mapping[str, TakenBack]
    """By the digest of the key."""
    issuers: tuple[x509.Certificate, ...]
    """Authorities of hospitals' certificates; empty: none are asked for."""


@dataclass(kw_only=True, slots=True)
class Members:
    """Who may call. One gateway has one; it is asked from one thread."""

    state: Path
    roster: Path
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    _known: _Known | None = None
    _files: object = None
    _next_look: float = 0.0
    _seen: dict[str, int] = field(default_factory=dict)
    _next_note: float = 0.0

    def why_refused(self, headers: Headers) -> Refused | None:
        """Why this call does not pass; None: it does, as far as membership goes."""
        self._look()
        caller = caller_of(headers)
        known = self._known
        if known is None or caller is None:
            return Refused.UNKNOWN
        refused = _why(known, caller, self.clock())
        if refused is None:
            self._note(known.names.get(caller.public_key))
        return refused

    def why_barred(self, site: str, since: float) -> Refused | None:
        """Why a ticket that a hospital was given at a time (seconds since 1970) counts no longer; None: it does."""
        self._look()
        known = self._known
        if known is None:
            return Refused.UNKNOWN
        ends = [taken.when.timestamp() for taken in known.taken_back.values() if taken.site == site]
        if any(since <= end for end in ends):
            return Refused.REVOKED
        return None if site in {*known.names.values(), *known.unsettled} else Refused.UNKNOWN

    def look_again(self) -> None:
        """Before the next question: the register was changed by this process."""
        self._next_look = 0.0

    def member(self, headers: Headers) -> str:
        """The name of a caller that has just not been refused; empty if the roster has none."""
        caller = caller_of(headers)
        return self._known.names.get(caller.public_key, "") if self._known and caller else ""

    def _look(self) -> None:
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + LOOK_SECONDS
        files = _fingerprint(self.state, self.roster)
        if files == self._files:
            return
        try:
            self._known = _read(self.state, self.roster)
            self._files = files
        except (OSError, ValueError, ConfigError):
            self._known = None  # a list of taken-back keys that cannot be read lets nobody in
            logger.exception("the register of members cannot be read; nobody is let in")

    def _note(self, site: str | None) -> None:
        """Remember when a member called; written now and then, for `coordinator roster`."""
        if site is None:
            return
        self._seen[site] = int(time.time())
        if time.monotonic() >= self._next_note:
            self._next_note = time.monotonic() + SEEN_SECONDS
            self._seen = read_seen(self.state) | self._seen
            with contextlib.suppress(OSError):  # it may be missing; calls must not wait for a disk
                draft = seen_path(self.state).with_suffix(".new")
                draft.write_text(json.dumps(self._seen))
                draft.replace(seen_path(self.state))


def caller_of(headers: Headers) -> Caller | None:
    """Who calls; None if no key is shown that could be a node's.

    A certificate that cannot be read counts as none.
    """
    key = _decoded(headers.get(KEY_HEADER, ""))
    try:
        pem = load_pem_public_key(key).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm):
        return None
    certificate = None
    with contextlib.suppress(ValueError):
        certificate = x509.load_der_x509_certificate(_decoded(headers.get(CERTIFICATE_HEADER, "")))
    return Caller(public_key=pem, certificate=certificate)


def read_seen(state: Path) -> dict[str, int]:
    """When each member called last, in seconds since 1970; without members that never did."""
    try:
        content = json.loads(seen_path(state).read_bytes())
    except (OSError, ValueError):
        return {}
    return {str(site): int(when) for site, when in content.items()}


def seen_path(state: Path) -> Path:
    """Where that is written."""
    return enrolment_folder(state) / "seen.json"


def _why(known: _Known, caller: Caller, now: datetime) -> Refused | None:
    is_taken_back = bool(known.taken_back) and digest_of_key(caller.public_key) in known.taken_back
    if not known.issuers:
        return Refused.REVOKED if is_taken_back else None
    if caller.certificate is None:
        return Refused.REVOKED if is_taken_back else Refused.UNKNOWN
    refused = why_refused(
        caller.certificate, issuers=known.issuers, public_key=caller.public_key, now=now
    )
    if refused is not None:
        return refused
    if is_taken_back:
        return Refused.REVOKED
    name = known.names.get(caller.public_key)
    if name is None:
        return Refused.UNKNOWN
    return None if name == site_of(caller.certificate) else Refused.WRONG_NAME


def _read(state: Path, roster: Path) -> _Known:
    issuers = list[x509.Certificate]()
    if opening_path(state).exists():
        issuers = x509.load_pem_x509_certificates((state / "tls" / "ca.crt").read_bytes())
    listing = read_roster(roster)
    return _Known(
        names={key: name for name, key in listing.keys.items()},
        unsettled=listing.unsettled,
        taken_back={taken.key: taken for taken in revoked(state).keys},
        issuers=tuple(issuers),
    )


def _fingerprint(state: Path, roster: Path) -> object:
    files = (opening_path(state), revoked_path(state), state / "tls" / "ca.crt")
    return fingerprint(roster), tuple(_stamp(path) for path in files)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_mtime_ns, about.st_size, about.st_ino


def _decoded(text: str) -> bytes:
    if len(text) > MAX_HEADER_CHARS:
        return b""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
