"""What every request meets first: is its address listened to, is its body of a size that makes sense, is its path plain.

Afterwards every answer is told to the journal, and every refusal is held against its address.
"""

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.gateway.journal import Journal
from server.gateway.strikes import Strikes

MAX_BODY_BYTES = 16 * 2**20
"""Of a call of Flower's; tensors travel in pieces of 5 MiB at most."""
MAX_SMALL_BODY_BYTES = 64 * 2**10
"""Of everything else but shards, whose own sizes are known."""
AREAS = {"/v1/fleet/": "fleet", "/blobs/": "blobs", "/enrol/": "enrol"}
REFUSED_KEY = "fedcxr.refused"
"""In a request's scope: whose call the application refused, if it knows, and its word for why."""
_CLOSE = (b"connection", b"close")


def area_of(path: str) -> str:
    """What a path belongs to."""
    return next((area for start, area in AREAS.items() if path.startswith(start)), "other")


class Edge:
    """In front of the application."""

    def __init__(self, app: ASGIApp, *, journal: Journal, strikes: Strikes) -> None:
        self._app = app
        self._journal = journal
        self._strikes = strikes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        area, host = area_of(scope["path"]), (scope.get("client") or ("", 0))[0]
        length = int(Headers(scope=scope).get("content-length", "0"))

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._note(message, scope, area=area, host=host, length=length)
            await send(message)

        app = self._refusal(scope, area=area, host=host, length=length) or self._app
        await app(scope, receive, answer)

    def _refusal(self, scope: Scope, *, area: str, host: str, length: int) -> ASGIApp | None:
        if area != "fleet" and self._strikes.is_out(host):
            return PlainTextResponse("slow down", 429, {"Retry-After": "5"})
        if b"%" in scope["raw_path"]:  # no path of ours needs it, and not everybody decodes alike
            return PlainTextResponse("not found", 404)
        limit = {"fleet": MAX_BODY_BYTES, "blobs": length}.get(area, MAX_SMALL_BODY_BYTES)
        return PlainTextResponse("too large", 413) if length > limit else None

    def _note(self, message: Message, scope: Scope, *, area: str, host: str, length: int) -> None:
        status = message["status"]
        site, word = scope.get(REFUSED_KEY, ("", ""))
        self._journal.answered(area, status, host=host, word=word, site=site)
        if area != "fleet":
            self._strikes.note(host, status)
        headers = list(message["headers"])
        if status >= 400 and length > MAX_SMALL_BODY_BYTES and area != "blobs":
            headers.append(_CLOSE)  # rather than read what nobody wants
        message["headers"] = headers
