"""A hospital fetches a shard, or the rest of one: bytes of a published file, block after block."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import BinaryIO

from anyio.to_thread import run_sync
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from server.blobs.published import Place
from server.blobs.ranges import OutOfRange, Span, asked_span

BLOCK_BYTES = 2**19
PATIENCE_SECONDS = 60.0
"""A caller that takes nothing for so long is given up."""


class PatientStream(StreamingResponse):
    """A stream that ends when its caller takes nothing any more."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send everything, or close the connection."""

        async def send_soon(message: Message) -> None:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await send(message)

        with contextlib.suppress(TimeoutError):
            await super().__call__(scope, receive, send_soon)


async def shard_answer(request: Request, place: Place, note: Callable[[int], None]) -> Response:
    """The bytes that were asked for; how many of them went out is noted at the end.

    Raises:
        HTTPException: 416 if there are no such bytes, 404 if the file was taken away.
    """
    asked = request.headers.get("range")
    try:
        span = asked_span(asked, place.size)
    except OutOfRange:
        raise HTTPException(416, "range", {"Content-Range": f"bytes */{place.size}"}) from None
    try:
        file = await run_sync(_open_at, place, span)
    except FileNotFoundError:
        raise HTTPException(404, "unknown") from None
    headers = {"Content-Length": str(span.length), "Accept-Ranges": "bytes"}
    if asked:
        headers["Content-Range"] = f"bytes {span.first}-{span.end - 1}/{place.size}"
    return PatientStream(
        _read(file, span.length, note),
        status_code=206 if asked else 200,
        headers=headers,
        media_type="application/octet-stream",
    )


def _open_at(place: Place, span: Span) -> BinaryIO:
    file = place.path.open("rb", buffering=0)
    file.seek(place.start + span.first)
    return file


async def _read(file: BinaryIO, length: int, note: Callable[[int], None]) -> AsyncIterator[bytes]:
    left = length
    try:
        with file:
            while left and (block := await run_sync(file.read, min(BLOCK_BYTES, left))):
                yield block
                left -= len(block)
    finally:
        note(length - left)
