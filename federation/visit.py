"""One visit to a coordinator's public port, stage by stage, so that each trouble is told from the others.

Name, port, proxy, TLS, answer: a stage that fails ends the visit, with one exception. Behind a certificate that is not
accepted, a second look without a check of the certificate still learns who answers and what time it is there. Nothing of
the hospital's is ever sent, verified or not: the only request is for the port's health.
"""

import contextlib
import http.client
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from pathlib import Path

from cryptography import x509

HEALTH_PATH = "/healthz"
PROTOCOL_HEADER = "Fedcxr-Protocol"
"""In the answer to a look at the port's health: the number of the protocol that is spoken there."""
STAGE_SECONDS = 5.0
"""For each stage of a visit."""
MAX_PROXY_ANSWER_BYTES = 2**14


class Trouble(StrEnum):
    """What ended a visit."""

    NAME = "the name is not known"
    PROXY_PORT = "the proxy cannot be reached"
    PROXY_REFUSES = "the proxy does not let through"
    REFUSED = "nobody listens"
    SILENT = "no answer"
    UNREACHABLE = "no way there"
    CUT = "the line is cut"
    NOT_TLS = "what answers does not speak TLS"
    EXPIRED = "the certificate has expired"
    NOT_YET_VALID = "the certificate is not valid yet"
    WRONG_NAME = "the certificate is for another name"
    WRONG_AUTHORITY = "the certificate is from another authority"
    REJECTED = "the certificate is not accepted"


OF_CERTIFICATE = frozenset(
    {
        *(Trouble.EXPIRED, Trouble.NOT_YET_VALID, Trouble.WRONG_NAME),
        *(Trouble.WRONG_AUTHORITY, Trouble.REJECTED),
    }
)
VERIFY_CODES = {
    9: Trouble.NOT_YET_VALID,
    10: Trouble.EXPIRED,
    **dict.fromkeys((2, 7, 18, 19, 20, 21, 30), Trouble.WRONG_AUTHORITY),
    62: Trouble.WRONG_NAME,
    64: Trouble.WRONG_NAME,
}
"""OpenSSL's numbers (X509_V_ERR)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """Where to, and through which proxy."""

    host: str
    port: int
    ca_path: Path
    """Authority that must have signed the certificate."""
    proxy: tuple[str, int] | None = None
    proxy_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """May hold a password."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Visit:
    """How far it went, and what was seen."""

    trouble: Trouble | None = None
    num_addresses: int = 0
    """Of the host, or of the proxy if there is one."""
    connect_seconds: float | None = None
    """Time of reaching the port; None if it was not reached."""
    proxy_status: int | None = None
    """The proxy's answer to CONNECT."""
    tls_version: str = ""
    certificate: x509.Certificate | None = None
    """What the other side showed, accepted or not."""
    status: int | None = None
    """Of the port's health; None if it was not told."""
    seconds_ahead: float | None = None
    """By how much the other side's clock is ahead of this machine's; None if it does not tell the time."""
    protocol: str = ""

    @property
    def is_trusted(self) -> bool:
        """Whether the certificate is one that is accepted."""
        return self.certificate is not None and self.trouble not in OF_CERTIFICATE


class _Ended(Exception):
    def __init__(self, visit: Visit) -> None:
        super().__init__()
        self.visit = visit


def pay_visit(way: Way) -> Visit:
    """Go there once; no trouble on the way makes this raise. Without a usable authority, nobody is trusted."""
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with contextlib.suppress(OSError):
        trusting.load_verify_locations(way.ca_path)
    try:
        return _asked(way, trusting)
    except _Ended as end:
        if end.visit.trouble not in OF_CERTIFICATE:
            return end.visit
        seen = _second_look(way)
        return replace(seen, trouble=end.visit.trouble)


def _second_look(way: Way) -> Visit:
    """Who answers and what time it is there, whoever it is."""
    curious = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    curious.check_hostname, curious.verify_mode = False, ssl.CERT_NONE
    try:
        return _asked(way, curious)
    except _Ended as end:
        return end.visit


def _asked(way: Way, context: ssl.SSLContext) -> Visit:
    with _connected(way, _resolved(way)) as (connection, reached):
        let_through = _through_proxy(way, connection, reached)
        with _encrypted(way, connection, context, let_through) as (line, agreed):
            return _answered(way, line, agreed)


def _resolved(way: Way) -> Visit:
    host, port = way.proxy or (way.host, way.port)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as err:
        trouble = Trouble.PROXY_PORT if way.proxy else Trouble.NAME
        raise _Ended(Visit(trouble=trouble)) from err
    return Visit(num_addresses=len({address[4][0] for address in found}))


@contextmanager
def _connected(way: Way, visit: Visit) -> Iterator[tuple[socket.socket, Visit]]:
    started = time.monotonic()
    try:
        connection = socket.create_connection(
            way.proxy or (way.host, way.port), timeout=STAGE_SECONDS
        )
    except OSError as err:
        trouble = Trouble.PROXY_PORT if way.proxy else _kind(err)
        raise _Ended(replace(visit, trouble=trouble)) from err
    with connection:
        yield connection, replace(visit, connect_seconds=time.monotonic() - started)


def _through_proxy(way: Way, connection: socket.socket, visit: Visit) -> Visit:
    if way.proxy is None:
        return visit
    target = f"{way.host}:{way.port}"
    headers = {"Host": target, **way.proxy_headers}
    lines = [f"CONNECT {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    try:
        connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        status = _status_of_proxy(connection)
    except (OSError, ValueError) as err:
        raise _Ended(replace(visit, trouble=Trouble.PROXY_REFUSES)) from err
    if status != 200:
        raise _Ended(replace(visit, trouble=Trouble.PROXY_REFUSES, proxy_status=status))
    return replace(visit, proxy_status=status)


def _status_of_proxy(connection: socket.socket) -> int:
    """Read the answer's head byte by byte: what follows it belongs to TLS."""
    head = b""
    while not head.endswith(b"\r\n\r\n") and len(head) < MAX_PROXY_ANSWER_BYTES:
        piece = connection.recv(1)
        if not piece:
            break
        head += piece
    return int(head.split(None, 2)[1]) if head.startswith(b"HTTP/") else 0


@contextmanager
def _encrypted(
    way: Way, connection: socket.socket, context: ssl.SSLContext, visit: Visit
) -> Iterator[tuple[ssl.SSLSocket, Visit]]:
    try:
        line = context.wrap_socket(connection, server_hostname=way.host)
    except ssl.SSLCertVerificationError as err:
        trouble = VERIFY_CODES.get(err.verify_code, Trouble.REJECTED)
        raise _Ended(replace(visit, trouble=trouble)) from err
    except OSError as err:
        raise _Ended(replace(visit, trouble=_kind_of_handshake(err))) from err
    with line:
        shown = line.getpeercert(binary_form=True)
        certificate = x509.load_der_x509_certificate(shown) if shown else None
        yield line, replace(visit, tls_version=line.version() or "", certificate=certificate)


def _answered(way: Way, line: ssl.SSLSocket, visit: Visit) -> Visit:
    """Health, time and protocol, as far as they are told."""
    asked = time.time()
    request = (
        f"GET {HEALTH_PATH} HTTP/1.1\r\nHost: {way.host}:{way.port}\r\nConnection: close\r\n\r\n"
    )
    try:
        line.sendall(request.encode("ascii"))
        answer = http.client.HTTPResponse(line, method="GET")
        answer.begin()
    except (OSError, ValueError, http.client.HTTPException):
        return visit
    with answer:
        there = _moment(answer.getheader("Date"))
        here = (asked + time.time()) / 2
        return replace(
            visit,
            status=answer.status,
            seconds_ahead=None if there is None else there.timestamp() + 0.5 - here,
            protocol=(answer.getheader(PROTOCOL_HEADER) or "")[:20],
        )


def _moment(told: str | None) -> datetime | None:
    try:
        return parsedate_to_datetime(told) if told else None
    except ValueError:
        return None


def _kind(err: OSError) -> Trouble:
    if isinstance(err, ConnectionRefusedError):
        return Trouble.REFUSED
    return Trouble.SILENT if isinstance(err, TimeoutError) else Trouble.UNREACHABLE


def _kind_of_handshake(err: OSError) -> Trouble:
    if isinstance(err, TimeoutError):
        return Trouble.SILENT
    is_other_tongue = isinstance(err, ssl.SSLError) and not isinstance(err, ssl.SSLEOFError)
    return Trouble.NOT_TLS if is_other_tongue else Trouble.CUT
