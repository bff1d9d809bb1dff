"""A stand-in for the coordinator's public port that is ill in one way: certificate, clock, protocol, or health."""

import socket
import ssl
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from federation.protocol import SPOKEN

DAY = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Signer:
    """An authority, trusted or not."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    def write(self, path: Path) -> Path:
        """Its certificate as a file."""
        path.write_bytes(self.certificate.public_bytes(Encoding.PEM))
        return path


def signer(name: str) -> Signer:
    """A fresh authority of that name."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(name, key, name, datetime.now(UTC) - DAY, datetime.now(UTC) + 900 * DAY)
    authority = x509.BasicConstraints(ca=True, path_length=0)
    certificate = builder.add_extension(authority, critical=True).sign(key, SHA256())
    return Signer(key=key, certificate=certificate)


def write_certificate(
    folder: Path,
    by: Signer,
    *,
    names: Sequence[str] = ("localhost",),
    begins: timedelta = -DAY,
    ends: timedelta = 300 * DAY,
) -> tuple[Path, Path]:
    """A server's certificate and key as files; times are counted from now."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    issuer = by.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
    builder = _builder("server", key, str(issuer), now + begins, now + ends)
    alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    certificate = builder.add_extension(alternatives, critical=False).sign(by.key, SHA256())
    cert_path, key_path = folder / "port.crt", folder / "port.key"
    cert_path.write_bytes(certificate.public_bytes(Encoding.PEM))
    key_path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return cert_path, key_path


def _builder(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: str, begins: datetime, ends: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
    )


class PublicPort:
    """Listens on 127.0.0.1 while it is open, and answers every request in the same way."""

    def __init__(
        self,
        certificate: tuple[Path, Path] | None,
        *,
        status: int = 200,
        ahead: timedelta = timedelta(0),
        protocol: str = str(SPOKEN),
        newest_tls: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ) -> None:
        """Listen.

        Args:
            certificate: what is shown, and its key; None for a port that cuts every line.
            status: of the answer.
            ahead: of its clock.
            protocol: that it says it speaks.
            newest_tls: that it can speak.
        """
        self._context = None
        if certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(*certificate)
            self._context.maximum_version = newest_tls
        self._status, self._ahead, self._protocol = status, ahead, protocol
        self.asked: list[bytes] = []
        """Everything that callers sent inside TLS."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _serve(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            with caller:
                self._answer(caller)

    def _answer(self, caller: socket.socket) -> None:
        caller.settimeout(5)
        if self._context is None:
            return
        try:
            with self._context.wrap_socket(caller, server_side=True) as line:
                self.asked.append(line.recv(4096))
                line.sendall(self._head())
        except OSError:
            return

    def _head(self) -> bytes:
        date = format_datetime(datetime.now(UTC) + self._ahead, usegmt=True)
        return (
            f"HTTP/1.1 {self._status} X\r\nDate: {date}\r\nFedcxr-Protocol: {self._protocol}\r\n"
            "Content-Length: 0\r\nConnection: close\r\n\r\n"
        ).encode()
