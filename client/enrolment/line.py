"""One question to the coordinator's public port, on the way out that this machine has."""

import contextlib
import http.client
import ssl
from collections.abc import Mapping

from client.enrolment.refusals import REASONS, CannotReach, NotAdmitted, Untrusted
from client.enrolment.trust import status_of_failure, status_of_refusal
from client.node_status import SENTENCES, NodeStatus
from client.transfer.proxy import proxy_towards
from federation.enrolment import MAX_BODY_BYTES, NotEnrolled

CONNECT_SECONDS = 15.0


def ask(
    address: str,
    method: str,
    path: str,
    trusted: ssl.SSLContext,
    *,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    proxy: str | None = None,
) -> bytes:
    """The body of the coordinator's answer.

    Args:
        address: ``host:port`` of the coordinator.
        method: Of the request.
        path: Of the request.
        trusted: Whom to speak to.
        body: Of the request.
        headers: Of the request.
        proxy: The way out; None: what the environment says.

    Raises:
        CannotReach: if there is no answer.
        Untrusted: if whoever answers does not hold a certificate that counts; nothing was sent to it.
        NotAdmitted: if the answer is no.
        ProxyUnusable: if the environment names a proxy of another kind.
    """
    connection = _connection(address, trusted, proxy)
    try:
        with contextlib.closing(connection):
            connection.request(method, path, body=body, headers=dict(headers or {}))
            answer = connection.getresponse()
            content = answer.read(MAX_BODY_BYTES)
    except (OSError, http.client.HTTPException) as err:
        status = status_of_failure(err)
        if status is not None:
            raise Untrusted(status) from err
        raise CannotReach(address, _kind(err)) from err
    if answer.status != http.client.OK:
        raise _refusal(address, answer.status, content)
    return content


def trust_in(authority: bytes | None) -> ssl.SSLContext:
    """TLS towards holders of this authority's certificates (PEM); without one, towards anyone."""
    if authority is None:
        anyone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        anyone.check_hostname = False
        anyone.verify_mode = ssl.CERT_NONE
        return anyone
    trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusted.minimum_version = ssl.TLSVersion.TLSv1_3
    trusted.load_verify_locations(cadata=authority.decode("ascii"))
    return trusted


def _connection(
    address: str, trusted: ssl.SSLContext, named: str | None
) -> http.client.HTTPSConnection:
    host, _, port = address.rpartition(":")
    proxy = proxy_towards(host, int(port), profile=named)
    if proxy is None:
        return http.client.HTTPSConnection(
            host, int(port), timeout=CONNECT_SECONDS, context=trusted
        )
    connection = http.client.HTTPSConnection(
        proxy.host, proxy.port, timeout=CONNECT_SECONDS, context=trusted
    )
    connection.set_tunnel(host, int(port), {"Host": address, **proxy.headers})
    return connection


def _refusal(address: str, status: int, content: bytes) -> CannotReach | NotAdmitted:
    word = content[:40].decode("utf-8", "replace").strip()
    if status == http.client.FORBIDDEN:
        with contextlib.suppress(ValueError):
            return NotAdmitted(REASONS[NotEnrolled(word)])
        refused = status_of_refusal(word)
        if refused is not NodeStatus.UNREACHABLE:
            return NotAdmitted(SENTENCES[refused].removeprefix("waiting: "))
    return CannotReach(address, f"answer {status}")


def _kind(err: Exception) -> str:
    """The kind of trouble, without names that a resolver or a proxy put into it."""
    return (getattr(err, "strerror", None) or type(err).__name__).lower()
