"""The certificate of a hospital's node: asking for one, checking what came back, and seeing how long it lasts."""

from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_public_key
from cryptography.x509.oid import NameOID

from client.enrolment.refusals import AnswerUnusable
from federation.enrolment import VERSION, Enrolled, site_of, why_refused
from federation.signing import SigningKeyUnusable, load_private, public_pem
from federation.strict_json import parse_json
from federation.strict_yaml import ConfigError


def signing_request(key_path: Path, site: str) -> str:
    """A request (PEM) for a certificate on this node's key; the key stays where it is.

    Raises:
        SigningKeyUnusable: if the file holds no node's key.
    """
    key = load_private(key_path)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise SigningKeyUnusable(key_path)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, site)])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, SHA384())
    return request.public_bytes(Encoding.PEM).decode()


def read_answer(content: bytes, *, site: str, authority: bytes, key_path: Path) -> Enrolled:
    """The coordinator's answer, if its certificate is for this hospital, for its key, and in force.

    Args:
        content: What came.
        site: The hospital.
        authority: Certificates of which one must have signed it (PEM).
        key_path: The node's secret key.

    Raises:
        AnswerUnusable: saying what is wrong.
    """
    try:
        enrolled = parse_json("the answer", content, Enrolled)
        certificate = x509.load_pem_x509_certificate(enrolled.certificate.encode())
        issuers = x509.load_pem_x509_certificates(authority)
        load_pem_public_key(enrolled.authority.encode())
    except (ConfigError, ValueError, UnsupportedAlgorithm) as err:
        raise AnswerUnusable("cannot be read") from err
    if enrolled.version != VERSION:
        raise AnswerUnusable("is of another release")
    if site not in {enrolled.site} & {site_of(certificate)}:
        raise AnswerUnusable("is for another hospital")
    own = public_pem(load_private(key_path))
    refused = why_refused(certificate, issuers=issuers, public_key=own, now=datetime.now(UTC))
    if refused is not None:
        raise AnswerUnusable(f"holds a certificate that does not count here ({refused})")
    return enrolled


def read_certificate(path: Path) -> x509.Certificate | None:
    """The certificate in a file; None if there is none that can be read."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        return None
