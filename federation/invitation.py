"""The one-time code with which a hospital joins: where the coordinator is, how to recognise it, and a secret.

The code travels by e-mail or telephone and says which authority to trust, so whoever can alter it on its way could pose
as the coordinator; for that the fingerprint is read out to the hospital by a person it knows.
"""

import base64
import binascii
import hashlib
import re
import unicodedata
from dataclasses import dataclass

PREFIX = "fedcxr1."
SECRET_BYTES, FINGERPRINT_BYTES, CHECK_BYTES = 16, 32, 4
SITE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
ADDRESS = re.compile(r"([^:/\s]+):(\d{1,5})")


class InvitationUnusable(ValueError):
    """Text that is no invitation."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"the code {what}: copy it again, whole, from what `fedcxr coordinator invite` printed."
        )


class NoSiteName(ValueError):
    """A hospital's name without a letter or a digit that could stand in a file's name."""

    def __init__(self, title: str) -> None:
        super().__init__(
            f"{title!r} cannot be made a site name, which has 1 to 40 lower-case letters, digits and hyphens: "
            "type another one."
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Invitation:
    """What the code holds."""

    address: str
    """``host:port`` of the coordinator's public port."""
    site: str
    fingerprint: bytes
    """SHA-256 of the authority's certificate (DER)."""
    secret: bytes

    @property
    def code(self) -> str:
        """One line of text, about 110 letters."""
        content = self.secret + self.fingerprint + f"{self.address} {self.site}".encode()
        text = base64.urlsafe_b64encode(content + _check(content)).decode().rstrip("=")
        return PREFIX + text


def read_invitation(code: str) -> Invitation:
    """The invitation in a code; blanks and line breaks in it do not matter.

    Raises:
        InvitationUnusable: if it was not copied whole, or is of another release.
    """
    text = "".join(code.split())
    if not text.startswith(PREFIX):
        raise InvitationUnusable(f"does not begin with {PREFIX}")
    try:
        letters = text.removeprefix(PREFIX)
        padded = letters + "=" * (-len(letters) % 4)
        whole = base64.b64decode(padded, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as err:
        raise InvitationUnusable("holds a letter that no code has") from err
    content, check = whole[:-CHECK_BYTES], whole[-CHECK_BYTES:]
    if check != _check(content):
        raise InvitationUnusable("is incomplete or was changed on its way")
    return _parse(content)


def spoken(fingerprint: bytes) -> str:
    """The first half of a fingerprint, as it is read out: eight groups of four digits."""
    digits = fingerprint[: FINGERPRINT_BYTES // 2].hex()
    return " ".join(digits[place : place + 4] for place in range(0, len(digits), 4))


def site_name(title: str) -> str:
    """A hospital's name as it stands in files: ``St Mary`` is ``st-mary``.

    Raises:
        NoSiteName: if nothing is left of it, or too much.
    """
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "-", plain.replace("'", "")).strip("-")
    if not SITE_NAME.fullmatch(name):
        raise NoSiteName(title)
    return name


def _parse(content: bytes) -> Invitation:
    secret, fingerprint, rest = (
        content[:SECRET_BYTES],
        content[SECRET_BYTES : SECRET_BYTES + FINGERPRINT_BYTES],
        content[SECRET_BYTES + FINGERPRINT_BYTES :],
    )
    address, _, site = rest.decode("utf-8", "replace").partition(" ")
    place = ADDRESS.fullmatch(address)
    if not place or not 0 < int(place[2]) < 2**16 or not SITE_NAME.fullmatch(site):
        raise InvitationUnusable("names no coordinator")
    return Invitation(address=address, site=site, fingerprint=fingerprint, secret=secret)


def _check(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()[:CHECK_BYTES]
