"""A small certificate authority: one for the coordinator's public port, one inside each hospital.

Files are kept as long as they serve: a certificate is issued anew when its names changed, when less than
a month is left, or when it does not belong to its key or its authority.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from federation.files import write_file

AUTHORITY_LIFE = timedelta(days=825)
CERTIFICATE_LIFE = timedelta(days=397)
RENEW_BEFORE = timedelta(days=30)
CLOCK_TOLERANCE = timedelta(days=1)
"""Certificates are valid from a day before their making, for machines whose clock is behind."""


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
    key_path: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Certificate:
    """What a server needs to speak TLS, and the authority its callers must trust."""

    ca_path: Path
    cert_path: Path
    key_path: Path


def make_authority(folder: Path) -> Authority:
    """The authority of this folder; made on first use (P-384, 825 days).

    Raises:
        AuthorityUnusable: if files are there but cannot be used.
    """
    authority = Authority(ca_path=folder / "ca.crt", key_path=folder / "ca.key")
    if not authority.ca_path.exists():
        _write_authority(authority)
    load_authority(authority)
    return authority


def issue_certificate(folder: Path, authority: Authority, names: Sequence[str]) -> Certificate:
    """A server certificate for these DNS names and IP addresses (P-256, 397 days at most).

    Raises:
        AuthorityUnusable: if the authority cannot sign.
        ValueError: if no name is given.
    """
    if not names:
        raise ValueError("a server certificate needs at least one name")
    files = Certificate(
        ca_path=authority.ca_path,
        cert_path=folder / "server.crt",
        key_path=folder / "server.key",
    )
    issuer, issuer_key = load_authority(authority)
    if not _is_current(files, issuer, names):
        _write_certificate(files, issuer, issuer_key, names)
    return files


def _write_authority(authority: Authority) -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fedcxr authority")])
    builder = (
        _builder(name, key.public_key(), life=AUTHORITY_LIFE)
        .issuer_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
    )
    write_file(authority.key_path, _key_pem(key))
    certificate = builder.sign(key, SHA384())
    write_file(authority.ca_path, certificate.public_bytes(Encoding.PEM), mode=0o644)


def _write_certificate(
    files: Certificate,
    issuer: x509.Certificate,
    issuer_key: ec.EllipticCurvePrivateKey,
    names: Sequence[str],
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fedcxr server")])
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    life = min(CERTIFICATE_LIFE, issuer.not_valid_after_utc - datetime.now(UTC))
    builder = (
        _builder(subject, key.public_key(), life=life)
        .issuer_name(issuer.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(usage, critical=False)
        .add_extension(x509.SubjectAlternativeName(_general_names(names)), critical=False)
        .add_extension(issuer_id, critical=False)
    )
    write_file(files.key_path, _key_pem(key))
    certificate = builder.sign(issuer_key, SHA384())
    write_file(files.cert_path, certificate.public_bytes(Encoding.PEM), mode=0o644)


def _builder(
    subject: x509.Name, key: ec.EllipticCurvePublicKey, *, life: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_TOLERANCE)
        .not_valid_after(now + life)
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


def _is_current(files: Certificate, issuer: x509.Certificate, names: Sequence[str]) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(files.cert_path.read_bytes())
        certificate.verify_directly_issued_by(issuer)
        key = _load_key(files.key_path)
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (OSError, ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    return (
        key.public_key() == certificate.public_key()
        and set(extension.value) == set(_general_names(names))
        and certificate.not_valid_after_utc - datetime.now(UTC) > RENEW_BEFORE
    )


def load_authority(authority: Authority) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """An authority's certificate and its key.

    Raises:
        AuthorityUnusable: if its files are damaged, incomplete or expired.
    """
    try:
        certificate = x509.load_pem_x509_certificate(authority.ca_path.read_bytes())
        key = _load_key(authority.key_path)
    except (OSError, ValueError, TypeError) as err:
        raise AuthorityUnusable(authority.ca_path, "cannot be read") from err
    if certificate.public_key() != key.public_key():
        raise AuthorityUnusable(authority.ca_path, "does not belong to the key beside it")
    if certificate.not_valid_after_utc <= datetime.now(UTC):
        raise AuthorityUnusable(authority.ca_path, "has expired")
    return certificate, key


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{path.name} does not hold an elliptic curve key")
    return key


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
