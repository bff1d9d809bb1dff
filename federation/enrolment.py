"""What a hospital and a coordinator agree on when a hospital joins: paths, words, and when a certificate is in force.

A hospital's certificate says that the study authority knows the key of its node under its name. The node shows it with
every call, beside Flower's own signature, which proves that it holds the key.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from federation.strict_yaml import STRICT

VERSION = 1
"""Of the requests and answers below."""
CA_PATH, JOIN_PATH, RENEW_PATH = "/enrol/ca", "/enrol/join", "/enrol/renew"
"""At the first: the coordinator's authorities, the present one first, then what each said for the next."""
KEY_HEADER = "flwr-public-key"
"""Flower's: a node's public key, PEM in base64."""
CERTIFICATE_HEADER = "x-fedcxr-certificate"
"""A hospital's certificate, DER in base64."""
REFUSAL_HEADER = "fedcxr-refusal"
"""In an answer of the public port: why it is no."""
CERTIFICATE_NAME = "node.crt"
"""Beside ``node.key`` in a hospital's state folder."""
MAX_BODY_BYTES = 2**16
CERTIFICATE_LIFE = timedelta(days=180)
RENEW_BEFORE = timedelta(days=30)


class Refused(StrEnum):
    """Why the coordinator does not let a node's call pass; the word is the body of the answer (403)."""

    UNKNOWN = "unknown"
    EXPIRED = "expired"
    NOT_YET_VALID = "not-yet-valid"
    WRONG_AUTHORITY = "wrong-authority"
    WRONG_NAME = "wrong-name"
    REVOKED = "revoked"
    OTHER_SITE = "other-site"


class NotEnrolled(StrEnum):
    """Why the coordinator does not admit a hospital that asks for a certificate."""

    CODE_UNKNOWN = "code-unknown"
    CODE_USED = "code-used"
    CODE_EXPIRED = "code-expired"
    KEY_REVOKED = "key-revoked"
    KEY_TAKEN = "key-taken"
    UNREADABLE = "unreadable"
    VERSION = "version"
    NOT_OPEN = "not-open"


@dataclass(frozen=True, kw_only=True, slots=True)
class JoinRequest:
    """What a hospital sends to join."""

    __pydantic_config__: ClassVar = STRICT

    version: int
    secret: str
    """Of the invitation, in hexadecimal."""
    request: str
    """Certificate signing request (PEM), signed with the node's key."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RenewRequest:
    """What a hospital sends, with its certificate in the header, to have it renewed."""

    __pydantic_config__: ClassVar = STRICT

    version: int
    request: str
    """Certificate signing request (PEM), signed with the node's key."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Enrolled:
    """The coordinator's answer."""

    __pydantic_config__: ClassVar = STRICT

    version: int
    site: str
    certificate: str
    """Of the hospital's node (PEM)."""
    authority: str
    """Public half of the key that signs plans and models (PEM)."""
    image_size: int
    """Side of the radiographs of this coordinator's studies, in pixels."""


def why_refused(
    certificate: x509.Certificate,
    *,
    issuers: Sequence[x509.Certificate],
    public_key: bytes,
    now: datetime,
) -> Refused | None:
    """Why a certificate is not in force for the holder of this key (PEM) at this moment; None: it is.

    Its name, and whether it was taken back, are for who keeps the roster to say.
    """
    if not any(_is_issued_to_a_site(certificate, issuer) for issuer in issuers):
        return Refused.WRONG_AUTHORITY
    if now < certificate.not_valid_before_utc:
        return Refused.NOT_YET_VALID
    if now >= certificate.not_valid_after_utc:
        return Refused.EXPIRED
    if public_pem_of(certificate) != public_key:
        return Refused.OTHER_SITE
    return None


def public_pem_of(holder: x509.Certificate | x509.CertificateSigningRequest) -> bytes:
    """The public key of a certificate or of a request for one, as PEM."""
    return holder.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def header_of(certificate: x509.Certificate) -> str:
    """What stands in ``CERTIFICATE_HEADER``."""
    return base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()


def site_of(certificate: x509.Certificate) -> str:
    """The hospital that a certificate names; empty if it names none."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if len(names) == 1 else ""


def _is_issued_to_a_site(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, x509.ExtensionNotFound):
        return False
    return ExtendedKeyUsageOID.CLIENT_AUTH in usage
