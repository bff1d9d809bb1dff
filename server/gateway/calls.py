"""The ten calls of Flower's that a hospital's node needs, passed to the SuperLink if a member signed them."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Protocol

import httpx
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response

from federation.bells import ANSWERS, Bells
from federation.enrolment import REFUSAL_HEADER
from server.blobs.fetching import PatientStream
from server.gateway.buckets import Buckets
from server.gateway.callers import NotSigned, caller_key, shown_key
from server.gateway.edge import MAX_BODY_BYTES, REFUSED_KEY
from server.gateway.limits import GatewayLimits
from server.gateway.strikes import Strikes
from server.gateway.waiting import ASKS_FOR_WORK, Waiting

FLEET_CALLS = (
    *("activate-node", "deactivate-node", "send-node-heartbeat", "get-run", "get-fab"),
    *("pull-messages", "push-messages", "pull-object", "push-object", "confirm-message-received"),
)
FLEET_PATHS = frozenset(f"/v1/fleet/{call}" for call in FLEET_CALLS)
BRINGS_ANSWERS = frozenset({"/v1/fleet/push-messages", "/v1/fleet/push-object"})
PASSED_ON = frozenset({"content-type", "accept", "user-agent"})
FLOWERS_OWN = "flwr-"
"""Headers of Flower's: versions, keys and signatures."""
NOT_PASSED_ON = ("flwr-superexec-", "flwr-task-token")
"""Those by which the coordinator's own processes prove who they are."""
PIECE_BYTES = 2**16


class Members(Protocol):
    """Who takes part."""

    def why_refused(self, headers: Mapping[str, str]) -> str | None:
        """Why whoever shows this key does not; None if it does, or if only the SuperLink knows."""

    def member(self, headers: Mapping[str, str]) -> str:
        """The hospital whose key this is; empty if it is none's."""


class BodyTooLarge(Exception):
    """The caller sent more than any message of the protocol needs."""


class FleetCalls:
    """Passes calls on to one SuperLink."""

    def __init__(
        self,
        upstream: httpx.AsyncClient,
        *,
        limits: GatewayLimits,
        strikes: Strikes,
        members: Members,
        bells: Bells,
    ) -> None:
        self._upstream = upstream
        self._bells = bells
        self._waiting = Waiting(bells, hold_seconds=limits.hold_seconds)
        self._strikes = strikes
        self._members = members
        self._known: set[bytes] = set()
        """Keys that the SuperLink answered; no more than there are hospitals."""
        self._brought: set[str] = set()
        """Hospitals whose nodes have brought something of an answer since they last asked for work."""
        self._calls = Buckets(per_second=limits.calls_per_second, at_once=limits.calls_at_once)

    async def answer(self, request: Request) -> Response:
        """Serve one of the ten paths."""
        is_known = shown_key(request.headers) in self._known
        host = request.client.host if request.client else ""
        if not is_known and self._strikes.is_out(host):
            return PlainTextResponse("slow down", 429, {"Retry-After": "5"})
        response = await self._answer(request)
        if not is_known:
            self._strikes.note(host, response.status_code)
        return response

    async def _answer(self, request: Request) -> Response:
        try:
            key = caller_key(request.headers)
        except NotSigned as err:
            return _refused(request, 401, err.word)
        word = self._members.why_refused(request.headers)
        if word is not None:
            return _refused(request, 403, word, site=self._members.member(request.headers))
        if not self._calls.take(key.decode()):
            # Flower's node tries again after 503, and ends after 429.
            return PlainTextResponse("slow down", 503, {"Retry-After": "1"})
        try:
            return await self._pass_on(request, key)
        except BodyTooLarge:
            return PlainTextResponse("too large", 413)
        except ClientDisconnect:
            return PlainTextResponse("gone", 400)

    async def _pass_on(self, request: Request, key: bytes) -> Response:
        body = await _read_body(request)
        headers, path = _kept(request.headers, _travels), request.scope["path"]
        site = self._members.member(request.headers)
        stood = self._waiting.stand(site)
        if path == ASKS_FOR_WORK:
            self._ring_if_it_brought(site)
        try:
            answer = await self._upstream.post(path, content=body, headers=headers)
        except httpx.HTTPError:
            return PlainTextResponse("superlink unavailable", 503)
        if answer.is_success:
            self._known.add(key)
            if path in BRINGS_ANSWERS:
                self._brought.add(site)
            if path == ASKS_FOR_WORK and not answer.content:
                await self._waiting.until_it_rings(site, stood)
        # A node tries again after 503 but loses its reply, or ends, after 500.
        status = 503 if answer.status_code == 500 else answer.status_code
        return _in_pieces(answer.content, status, _kept(answer.headers, _returns))

    def _ring_if_it_brought(self, site: str) -> None:
        """Tell of an answer once its node asks for more work: then all of its pieces are here.

        Whoever looks for an answer that is half there waits for the rest of it, a second or more at a time.
        """
        if site in self._brought:
            self._brought.discard(site)
            self._bells.ring(ANSWERS + site)


def _refused(request: Request, status: int, word: str, *, site: str = "") -> Response:
    request.scope[REFUSED_KEY] = (site, word)
    return PlainTextResponse(word, status, {REFUSAL_HEADER: word})


def _kept(headers: Mapping[str, str], is_wanted: Callable[[str], bool]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if is_wanted(name)}


def _travels(name: str) -> bool:
    is_flowers = name.startswith(FLOWERS_OWN) and not name.startswith(NOT_PASSED_ON)
    return is_flowers or name in PASSED_ON


def _returns(name: str) -> bool:
    return name == "content-type" or name.startswith(FLOWERS_OWN)


def _in_pieces(content: bytes, status: int, headers: dict[str, str]) -> Response:
    """An answer; a long one is handed to the line little by little, so that a slow one is neither cut nor kept for ever."""
    if len(content) <= PIECE_BYTES:
        return Response(content, status, headers=headers)

    async def pieces() -> AsyncIterator[bytes]:
        for first in range(0, len(content), PIECE_BYTES):
            yield content[first : first + PIECE_BYTES]

    headers["content-length"] = str(len(content))
    return PatientStream(pieces(), status, headers)


async def _read_body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise BodyTooLarge
    return bytes(body)
