"""A small certificate authority: one for the coordinator's public port, one inside each hospital.

Files are kept as long as they serve: a certificate is issued anew when its names changed, when less than
a twelfth of its life is left, or when it does not belong to its key or its authority. An authority is followed by the next one
two years before its end, and vouches for it: whoever trusts only the old one goes on trusting (`authorities`).
"""

import ipaddress
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from federation.files import hold_lock, write_file
from federation.pem import certificates_pem, in_force, key_pem, keys_in

logger = logging.getLogger(__name__)

AUTHORITY_LIFE = timedelta(days=3652)
OVERLAP = timedelta(days=730)
"""An authority that ends sooner is followed by the next one; both count as long."""
CERTIFICATE_LIFE = timedelta(days=397)
RENEW_BEFORE = timedelta(days=30)
CLOCK_TOLERANCE = timedelta(days=1)
"""Certificates are valid from a day before their making, for machines whose clock is behind."""
AUTHORITY_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fedcxr authority")])
"""Of every authority: one that vouches for the next under its own name may do so at the end of a chain (RFC 5280)."""
LOCK_SECONDS = 10.0


class AuthorityUnusable(RuntimeError):
    """The authority's files are damaged, incomplete or expired."""

    def __init__(self, ca_path: Path, reason: str) -> None:
        super().__init__(
            f"the certificate authority {ca_path} {reason}: restore its folder from a backup, or remove the "
            "folder to make a new authority and hand the new certificate to everyone who connects."
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Authority:
    """Where an authority keeps its public certificate and its secret key."""

    ca_path: Path
    """The present one's certificate, then those before it that are still in force."""
    key_path: Path

    @property
    def vouchers_path(self) -> Path:
        """Certificates by which each authority before vouches for the next."""
        return self.ca_path.with_name("vouchers.crt")


@dataclass(frozen=True, kw_only=True, slots=True)
class Certificate:
    """What a server needs to speak TLS, and the authority its callers must trust."""

    ca_path: Path
    cert_path: Path
    key_path: Path


def make_authority(folder: Path) -> Authority:
    """The authority of this folder; made on first use (P-384, ten years), and followed by the next one in time.

    Raises:
        AuthorityUnusable: if files are there but cannot be used.
        AlreadyRunning: if another process takes too long over making the next one.
    """
    authority = Authority(ca_path=folder / "ca.crt", key_path=folder / "ca.key")
    if not authority.ca_path.exists():
        _write_authority(authority)
    present, _ = load_authority(authority)
    if is_to_be_followed(present):
        follow_authority(authority, present)
    return authority


def is_to_be_followed(present: x509.Certificate) -> bool:
    """Whether it is time for the next authority."""
    return present.not_valid_after_utc - datetime.now(UTC) < OVERLAP


def follow_authority(authority: Authority, present: x509.Certificate) -> x509.Certificate:
    """Make the next authority, for which the present one vouches; the one that counts from now on.

    Nothing is lost if it is killed: the key is on the disk before the certificate that needs it.

    Args:
        authority: Where both are kept.
        present: The one to be followed; if another process was faster, that one's counts.

    Raises:
        AuthorityUnusable: if the present one cannot sign.
        AlreadyRunning: if another process takes too long over it.
    """
    with hold_lock(authority.ca_path.with_suffix(".lock"), patience_seconds=LOCK_SECONDS):
        found, found_key = load_authority(authority)
        if found != present:
            return found
        key = ec.generate_private_key(ec.SECP384R1())
        voucher = _authority_certificate(key, by=found_key, ends=found.not_valid_after_utc)
        following = _authority_certificate(key, by=key, ends=datetime.now(UTC) + AUTHORITY_LIFE)
        before = _certificates_in(authority.ca_path)
        vouchers = [voucher, *_vouching_for(before, authority)]
        write_file(authority.key_path, key_pem(key) + key_pem(found_key))
        write_file(authority.vouchers_path, certificates_pem(vouchers), mode=0o644)
        write_file(authority.ca_path, certificates_pem([following, *before]), mode=0o644)
    logger.warning("the next authority of %s is made; both are in force", authority.ca_path)
    return following


def issue_certificate(
    folder: Path,
    authority: Authority,
    names: Sequence[str],
    *,
    life: timedelta | None = None,
) -> Certificate:
    """A server certificate for these DNS names and IP addresses (P-256).

    Args:
        folder: For the certificate and its key.
        authority: Signs it.
        names: By which the server is called.
        life: None: 397 days; never longer than the authority's.

    Raises:
        AuthorityUnusable: if the authority cannot sign.
        ValueError: if no name is given.
    """
    if not names:
        raise ValueError("a server certificate needs at least one name")
    files = Certificate(
        ca_path=authority.ca_path, cert_path=folder / "server.crt", key_path=folder / "server.key"
    )
    issuer, issuer_key = load_authority(authority)
    life = life or CERTIFICATE_LIFE
    if not _is_current(files, issuer, names, life=life):
        ends = min(datetime.now(UTC) + life, issuer.not_valid_after_utc)
        chain = certificates_pem(_vouching_for([issuer], authority))
        _write_certificate(files, (issuer, issuer_key), names, ends=ends, chain=chain)
    return files


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """DNS names and IP addresses that a certificate is for."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(str(each.value) for each in names)


def _write_authority(authority: Authority) -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    certificate = _authority_certificate(key, by=key, ends=datetime.now(UTC) + AUTHORITY_LIFE)
    write_file(authority.key_path, key_pem(key))
    write_file(authority.ca_path, certificates_pem([certificate]), mode=0o644)


def _authority_certificate(
    key: ec.EllipticCurvePrivateKey, *, by: ec.EllipticCurvePrivateKey, ends: datetime
) -> x509.Certificate:
    """Says that a key is an authority's: by itself, or by the authority before it."""
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key())
    return (
        _builder(AUTHORITY_NAME, key.public_key(), ends=ends)
        .issuer_name(AUTHORITY_NAME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(issuer_id, critical=False)
        .sign(by, SHA384())
    )


def _vouching_for(
    followers: Sequence[x509.Certificate], authority: Authority
) -> list[x509.Certificate]:
    """What earlier authorities say for these ones, and for those that say it."""
    if not authority.vouchers_path.exists():
        return []
    known = [each.public_key() for each in [*followers, *_certificates_in(authority.ca_path)]]
    vouchers = _certificates_in(authority.vouchers_path)
    return [each for each in vouchers if each.public_key() in known]


def _certificates_in(path: Path) -> list[x509.Certificate]:
    return in_force(x509.load_pem_x509_certificates(path.read_bytes()))


def _write_certificate(
    files: Certificate,
    signer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey],
    names: Sequence[str],
    *,
    ends: datetime,
    chain: bytes,
) -> None:
    issuer, issuer_key = signer
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fedcxr server")])
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    builder = (
        _builder(subject, key.public_key(), ends=ends)
        .issuer_name(issuer.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(usage, critical=False)
        .add_extension(x509.SubjectAlternativeName(_general_names(names)), critical=False)
        .add_extension(issuer_id, critical=False)
    )
    write_file(files.key_path, key_pem(key))
    certificate = builder.sign(issuer_key, SHA384())
    write_file(files.cert_path, certificates_pem([certificate]) + chain, mode=0o644)


def _builder(
    subject: x509.Name, key: ec.EllipticCurvePublicKey, *, ends: datetime
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_TOLERANCE)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_names(names: Sequence[str]) -> list[x509.GeneralName]:
    return [_general_name(name) for name in dict.fromkeys(names)]


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _is_current(
    files: Certificate, issuer: x509.Certificate, names: Sequence[str], *, life: timedelta
) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(files.cert_path.read_bytes())
        certificate.verify_directly_issued_by(issuer)
        (key,) = keys_in(files.key_path)
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (OSError, ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    return (
        key.public_key() == certificate.public_key()
        and set(extension.value) == set(_general_names(names))
        and certificate.not_valid_after_utc - datetime.now(UTC) > life / 12
    )


def load_authority(authority: Authority) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """The present authority's certificate and its key.

    Raises:
        AuthorityUnusable: if its files are damaged, incomplete or expired.
    """
    try:
        certificate = x509.load_pem_x509_certificate(authority.ca_path.read_bytes())
        keys = keys_in(authority.key_path)
    except (OSError, ValueError, TypeError) as err:
        raise AuthorityUnusable(authority.ca_path, "cannot be read") from err
    key = next((key for key in keys if key.public_key() == certificate.public_key()), None)
    if key is None:
        raise AuthorityUnusable(authority.ca_path, "does not belong to the key beside it")
    if certificate.not_valid_after_utc <= datetime.now(UTC):
        raise AuthorityUnusable(authority.ca_path, "has expired")
    return certificate, key
