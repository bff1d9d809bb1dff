"""How fast the line to a hospital is: as many bytes of nothing as a member asks for, and a place to leave as many.

Only members are served, each a few times a minute, so nobody can have the line filled.
"""

from collections.abc import AsyncIterator

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from federation.enrolment import REFUSAL_HEADER
from federation.line_speed import MAX_PROBE_BYTES, SPEED_PATH
from server.blobs.fetching import PatientStream
from server.gateway.buckets import Buckets
from server.gateway.callers import NotSigned, caller_key
from server.gateway.calls import Members

PIECE = bytes(2**16)
PROBES_PER_SECOND, PROBES_AT_ONCE = 0.5, 32
"""One measurement asks a dozen times."""


class SpeedRoute:
    """Serves the hospitals of one roster."""

    def __init__(self, members: Members) -> None:
        self._members = members
        self._probes = Buckets(per_second=PROBES_PER_SECOND, at_once=PROBES_AT_ONCE)

    def routes(self) -> list[Route]:
        """What to mount."""
        return [Route(SPEED_PATH, self._serve, methods=["GET", "PUT"])]

    async def _serve(self, request: Request) -> Response:
        try:
            key = caller_key(request.headers)
        except NotSigned as err:
            return PlainTextResponse(err.word, 401, {"Connection": "close"})
        refused = self._members.why_refused(request.headers)
        if refused or not self._members.member(request.headers):
            word = refused or "unknown"
            return PlainTextResponse(word, 403, {REFUSAL_HEADER: word, "Connection": "close"})
        asked = request.query_params.get("bytes", "")
        if not asked.isdecimal() or len(asked) > 9 or int(asked) > MAX_PROBE_BYTES:
            return PlainTextResponse("bytes", 400, {"Connection": "close"})
        if not self._probes.take(key.decode()):
            return PlainTextResponse("slow down", 503, {"Connection": "close"})
        return await (_give(int(asked)) if request.method == "GET" else _take(request))


async def _give(num_bytes: int) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        for first in range(0, num_bytes, len(PIECE)):
            yield PIECE[: num_bytes - first]

    return PatientStream(pieces(), 200, {"Content-Length": str(num_bytes)})


async def _take(request: Request) -> Response:
    """Whatever is left is forgotten."""
    left = MAX_PROBE_BYTES
    try:
        async for piece in request.stream():
            left -= len(piece)
            if left < 0:
                return PlainTextResponse("too large", 413, {"Connection": "close"})
    except ClientDisconnect:
        return PlainTextResponse("gone", 400)
    return PlainTextResponse("")
