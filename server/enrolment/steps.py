"""What the commands of enrolment do: open a coordinator for hospitals, and invite one."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from federation.certificates import (
    follow_authority,
    issue_certificate,
    load_authority,
    make_authority,
    names_of,
)
from federation.files import make_private_folder
from federation.invitation import Invitation, site_name
from server.enrolment.authority import study_authority
from server.enrolment.invitations import LIFE, invite
from server.enrolment.opening import Opening, find_opening, read_opening, write_opening
from server.enrolment.register import changing
from server.roster_keys import read_roster
from server.state_folder import open_state_folder

LOOPBACK_NAMES = ("localhost", "127.0.0.1")


class AlreadyOpened(ValueError):
    """Hospitals were told another address."""

    def __init__(self, opening: Opening) -> None:
        super().__init__(
            f"this coordinator is {opening.address} already, and hospitals that joined know it by that name: use "
            "another --state folder for another coordinator, or type the command with --move and tell every hospital to "
            "change `coordinator` in its profile."
        )


class AlreadyMember(ValueError):
    """A name that is in the roster."""

    def __init__(self, site: str) -> None:
        super().__init__(
            f"{site} is in the roster already: type the command with --replace if this hospital is to join anew, for "
            "example on a new machine; its old key is shut out as soon as the new one has joined."
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """What there is after `init`."""

    opening: Opening
    fingerprint: bytes
    """SHA-256 of the authority's certificate."""


def open_coordinator(state: Path, opening: Opening, *, move: bool) -> Opened:
    """Make the study authority, the certificate of the public port and the roster; again, it changes nothing.

    Raises:
        StateFolderUnusable: if the state folder is.
        AlreadyOpened: if it has another address, and is not to move.
        AuthorityUnusable: if its files are damaged.
    """
    open_state_folder(state)
    before = find_opening(state)
    if before is not None and before.address != opening.address and not move:
        raise AlreadyOpened(before)
    authority = make_authority(state / "tls")
    issue_certificate(state / "tls", authority, (opening.host, *LOOPBACK_NAMES))
    study_authority(state)
    make_private_folder(state / "roster")
    write_opening(state, opening)
    return Opened(opening=opening, fingerprint=fingerprint_of(state))


@dataclass(frozen=True, kw_only=True, slots=True)
class Guest:
    """What there is after `invite`."""

    invitation: Invitation
    expires: datetime


def invite_hospital(state: Path, roster: Path, title: str, *, replace: bool) -> Guest:
    """A one-time code for a hospital.

    Raises:
        NotOpened: if `init` was not typed.
        NoSiteName: if the name cannot be a site's.
        AlreadyMember: if it is in the roster, and is not to be replaced.
    """
    opening, site = read_opening(state), site_name(title)
    listing = read_roster(roster)
    if not replace and site in listing.keys.keys() | listing.unsettled:
        raise AlreadyMember(site)
    with changing(state):
        secret = invite(state, site)
    invitation = Invitation(
        address=opening.address, site=site, fingerprint=fingerprint_of(state), secret=secret
    )
    return Guest(invitation=invitation, expires=datetime.now().astimezone() + LIFE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where `up` listens."""

    host: str
    port: int
    """0: any that is free."""
    names: tuple[str, ...]
    """By which hospitals reach it."""


def place_of(state: Path, *, host: str | None, port: int | None, names: Sequence[str]) -> Place:
    """Where to listen: as typed, else as `init` settled it, else on this machine alone.

    Raises:
        ConfigError: if what `init` settled is damaged.
    """
    opening = find_opening(state)
    if opening is None:
        return Place(host=host or "127.0.0.1", port=port or 0, names=(*LOOPBACK_NAMES, *names))
    return Place(
        host=host or opening.listen,
        port=opening.port if port is None else port,
        names=tuple(dict.fromkeys((*LOOPBACK_NAMES, opening.host, *names))),
    )


def next_authority(state: Path) -> datetime:
    """Make the next authority, which hospitals believe because the present one vouches for it; when it ends.

    The port's certificate is issued anew at once: whoever is invited from now on believes only the next one.

    Raises:
        NotOpened: if `init` was not typed.
        AuthorityUnusable: if the present one cannot vouch.
        AlreadyRunning: if another process is about to do the same.
    """
    read_opening(state)
    folder = state / "tls"
    authority = make_authority(folder)
    present, _ = load_authority(authority)
    shown = x509.load_pem_x509_certificate((folder / "server.crt").read_bytes())
    following = follow_authority(authority, present)
    issue_certificate(folder, authority, names_of(shown))
    return following.not_valid_after_utc


def fingerprint_of(state: Path) -> bytes:
    """SHA-256 of the certificate of this coordinator's present authority."""
    content = (state / "tls" / "ca.crt").read_bytes()
    certificate = x509.load_pem_x509_certificate(content)
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest()
