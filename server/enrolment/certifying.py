"""The study authority's word on the key of a hospital's node: its certificate."""

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from federation.certificates import CLOCK_TOLERANCE, Authority, load_authority
from federation.enrolment import CERTIFICATE_LIFE

CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
"""On which Flower takes a node's key."""


class RequestUnusable(ValueError):
    """Bytes that are no signing request, or one for a key that no node can have."""


def read_request(pem: str) -> x509.CertificateSigningRequest:
    """A signing request that its sender holds the key of.

    Raises:
        RequestUnusable: if it is none.
    """
    try:
        request = x509.load_pem_x509_csr(pem.encode())
        key, is_signed = request.public_key(), request.is_signature_valid
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as err:
        raise RequestUnusable from err
    if not is_signed or not isinstance(key, ec.EllipticCurvePublicKey):
        raise RequestUnusable
    if not isinstance(key.curve, CURVES):
        raise RequestUnusable
    return request


def certify(
    authority: Authority,
    request: x509.CertificateSigningRequest,
    site: str,
    *,
    life: timedelta = CERTIFICATE_LIFE,
    now: datetime | None = None,
) -> x509.Certificate:
    """A certificate for the key of this request, in the name of this hospital, whatever name the request holds.

    Raises:
        AuthorityUnusable: if the authority cannot sign.
    """
    issuer, issuer_key = load_authority(authority)
    now = now or datetime.now(UTC)
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, site)]))
        .issuer_name(issuer.subject)
        .public_key(request.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_TOLERANCE)
        .not_valid_after(min(now + life, issuer.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(identifier, critical=False)
        .sign(issuer_key, SHA384())
    )
