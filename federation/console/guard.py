"""What every answer of a console carries, and what no question gets past, whatever page it is about.

The names a console answers to are a closed list: a page of another site that has its own name point at this machine
(DNS rebinding) is refused, and so is every form that was not sent from a page of this console.
"""

from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "content-security-policy": CONTENT_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not no-referrer: a browser would then say that forms come from nowhere.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "cache-control": "no-store",
}
SECURE_HEADERS = {"strict-transport-security": "max-age=31536000"}
SAFE_METHODS = frozenset({"GET", "HEAD"})
MAX_BODY_BYTES = 2**16
"""No form of a console comes near it."""
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def origins_of(hosts: Iterable[str], port: int, *, is_secure: bool) -> frozenset[str]:
    """Every address of a console, as a browser names it."""
    scheme, usual = ("https", 443) if is_secure else ("http", 80)
    suffix = "" if port == usual else f":{port}"
    return frozenset(f"{scheme}://{host.lower()}{suffix}" for host in hosts)


def guarded(app: ASGIApp, *, origins: frozenset[str]) -> ASGIApp:
    """An application behind the guard.

    Args:
        app: What answers.
        origins: Every address it may be asked by, such as ``http://127.0.0.1:8450``; all have the same scheme.
    """
    hosts = frozenset(urlsplit(origin).netloc for origin in origins)
    is_secure = all(origin.startswith("https:") for origin in origins)
    carried = HEADERS | (SECURE_HEADERS if is_secure else {})

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(carried)
            await send(message)

        refusal = _refusal(scope, hosts=hosts, origins=origins)
        await (refusal or app)(scope, receive, send_with_headers)

    return answer


def _refusal(
    scope: Scope, *, hosts: frozenset[str], origins: frozenset[str]
) -> PlainTextResponse | None:
    """Why a question is not even looked at; None: it is."""
    headers = Headers(scope=scope)
    if headers.get("host", "").lower() not in hosts:
        return PlainTextResponse("This console does not answer to that name.\n", 421)
    if scope["method"] in SAFE_METHODS:
        return None
    if headers.get("origin", "").lower() not in origins:
        return PlainTextResponse("This form was not sent from a page of this console.\n", 403)
    length = headers.get("content-length", "")
    if not (length.isascii() and length.isdigit()) or "transfer-encoding" in headers:
        return PlainTextResponse("A form has to say how long it is.\n", 411)
    if int(length) > MAX_BODY_BYTES:
        return PlainTextResponse("That is more than any form here holds.\n", 413)
    return None
