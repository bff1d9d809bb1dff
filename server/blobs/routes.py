"""The paths under ``/blobs/`` of the public port: who may, which shard, and then to work."""

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Protocol

from anyio.to_thread import run_sync
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from federation.enrolment import REFUSAL_HEADER
from server.blobs.boxes import Boxes, Expected, boxes_path
from server.blobs.fetching import shard_answer
from server.blobs.leaving import add_to_shard, answer, how_much
from server.blobs.names import is_space, shard_number
from server.blobs.opening import open_own_box
from server.blobs.published import Published, published_path
from server.blobs.tickets import Right, TokenRefused, check_token, load_key
from server.blobs.traffic import Traffic, traffic_path

logger = logging.getLogger(__name__)

PATH = "/blobs/{space}/{number}"
BOX_PATH = "/blobs/{space}"
MAX_IGNORED_BYTES = 2**26
"""A body that is not wanted is read to its end if it announces to be no longer, so that the answer arrives."""


class Members(Protocol):
    """Who takes part."""

    def why_barred(self, site: str, since: float) -> str | None:
        """Why a hospital's tickets of this time (seconds since 1970) count no longer; None if they do."""


class BlobRoutes:
    """Serves the blobs in one coordinator's state folder. One process at a time does."""

    def __init__(self, state_path: Path, members: Members) -> None:
        self._members = members
        self._key = load_key(state_path)
        self._boxes = Boxes(boxes_path(state_path))
        self._boxes.sweep()
        self._published = Published(published_path(state_path))
        self._traffic = Traffic(traffic_path(state_path))
        self._busy: set[tuple[str, int]] = set()
        """Shards that are on their way."""

    def routes(self) -> list[Route]:
        """What to mount."""
        return [
            Route(PATH, self._shard, methods=["GET", "HEAD", "PUT"]),
            Route(BOX_PATH, self._box, methods=["PUT"]),
        ]

    async def _shard(self, request: Request) -> Response:
        return await _served(request, self._answer)

    async def _box(self, request: Request) -> Response:
        return await _served(request, self._open)

    async def _answer(self, request: Request) -> Response:
        right: Right = "fetch" if request.method == "GET" else "leave"
        space = request.path_params["space"]
        site = self._check(request, space, right)
        number = shard_number(request.path_params["number"])
        if number is None:
            raise HTTPException(404, "unknown")
        if right == "fetch":
            return await self._fetch(request, space, number, site)
        return await self._leave(request, space, number, site)

    async def _open(self, request: Request) -> Response:
        space = request.path_params["space"]
        self._check(request, space, "open")
        return await open_own_box(request, self._boxes, space)

    def _check(self, request: Request, space: str, right: Right) -> str:
        """The hospital that shows a ticket that counts."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not is_space(space):
            raise HTTPException(401, TokenRefused.word)
        try:
            given = check_token(self._key, token, space=space, right=right)
        except TokenRefused as err:
            raise HTTPException(401, err.word) from None
        word = self._members.why_barred(given.site, given.since)
        if word is not None:
            raise HTTPException(403, word, {REFUSAL_HEADER: word})
        return given.site

    async def _fetch(self, request: Request, space: str, number: int, site: str) -> Response:
        place = await run_sync(self._published.place, space, number)
        if place is None:
            raise HTTPException(404, "unknown")
        return await shard_answer(request, place, partial(self._traffic.note, space, site))

    async def _leave(self, request: Request, space: str, number: int, site: str) -> Response:
        expected = await run_sync(self._boxes.expected, space, number)
        if expected is None:
            raise HTTPException(404, "unknown")
        shard = (space, number)
        if shard in self._busy:
            return await _busy_answer(request, expected)
        self._busy.add(shard)
        try:
            if request.method == "HEAD":
                return await how_much(expected)
            return await add_to_shard(request, expected, partial(self._traffic.note, space, site))
        finally:
            self._busy.discard(shard)


async def _served(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
    """An answer whatever happens, after which the line ends if too much of the body may be left."""
    try:
        response = await answer(request)
    except HTTPException as err:
        response = PlainTextResponse(err.detail, err.status_code, err.headers)
    except OSError:
        logger.exception("the disk refused")
        response = PlainTextResponse("disk", 503)
    if not _may_be_ignored(request):
        response.headers["Connection"] = "close"
    return response


async def _busy_answer(request: Request, expected: Expected) -> Response:
    offset = await run_sync(expected.offset)
    if request.method == "HEAD":
        return answer(200, "", offset)
    return answer(409, "busy", offset, **{"Retry-After": "1"})


def _may_be_ignored(request: Request) -> bool:
    """Whether what may be left of the body is known to end soon."""
    if request.method != "PUT":
        return True
    length = request.headers.get("content-length", "")
    return length.isdecimal() and int(length) <= MAX_IGNORED_BYTES
