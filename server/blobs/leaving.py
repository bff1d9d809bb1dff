"""A hospital leaves a shard: HEAD says how much of it is here, PUT adds to it."""

import asyncio
import contextlib
import errno
import logging
from collections.abc import AsyncIterator, Callable, Sequence

from anyio.to_thread import run_sync
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from server.blobs.body import LineSilent, blocks
from server.blobs.boxes import Expected
from server.blobs.part import Part, finish
from server.blobs.ranges import OutOfRange, Span, brought_span

logger = logging.getLogger(__name__)

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


class TooMuch(Exception):
    """More came than was announced."""


async def add_to_shard(
    request: Request, expected: Expected, note: Callable[[int], None]
) -> Response:
    """Add the body to what is here of a shard, note how much that was, and say how it stands then. One caller at a time."""
    span = _announced(request, expected.size)
    try:
        if await run_sync(finish, expected):
            return answer(201, "complete", expected.size)
        with await run_sync(Part, expected) as part:
            return await _add(request, expected, part, span, note)
    except FileNotFoundError:
        # The coordinator dropped the shard, or closed the box, while it came.
        return answer(409, "dropped", 0)


async def how_much(expected: Expected) -> Response:
    """Say how much of a shard is here. Nobody adds to it meanwhile."""
    with contextlib.suppress(FileNotFoundError):  # dropped at this moment
        await run_sync(finish, expected)
    return answer(200, "", await run_sync(expected.offset))


def answer(status: int, word: str, offset: int, **headers: str) -> Response:
    """A word, and how many bytes of the shard are here."""
    return PlainTextResponse(word, status, {"Upload-Offset": str(offset), **headers})


async def _add(
    request: Request, expected: Expected, part: Part, span: Span, note: Callable[[int], None]
) -> Response:
    if part.length != span.first:
        return answer(409, "elsewhere", part.length)
    try:
        await run_sync(part.hash_again)
        try:
            await _pour(_within(blocks(request), span.length), part)
        finally:
            note(part.length - span.first)  # before the shard counts, so that no count comes late
        if part.length < expected.size:
            return answer(202, "more", part.length)
        whole = await run_sync(part.settle)
    except TooMuch:
        await run_sync(part.take_back, span.first)
        return answer(413, "more-than-announced", span.first)
    except LineSilent:
        return answer(408, "silent", part.length, Connection="close")
    except OSError as err:
        if err.errno not in NO_ROOM:
            raise
        logger.warning("no room on the disk for a shard of %d bytes", expected.size)
        return answer(507, "full", part.length)
    return answer(201, "complete", expected.size) if whole else answer(422, "digest", 0)


async def _pour(body: AsyncIterator[Sequence[bytes]], part: Part) -> None:
    """Write and hash one block while the next one comes."""
    writing: asyncio.Task[None] | None = None
    try:
        async for block in body:
            if writing:
                await writing
            writing = asyncio.create_task(run_sync(part.append, block))
    finally:
        if writing:
            await writing


async def _within(
    body: AsyncIterator[list[bytes]], num_bytes: int
) -> AsyncIterator[Sequence[bytes]]:
    async for block in body:
        num_bytes -= sum(map(len, block))
        if num_bytes < 0:
            raise TooMuch
        yield block


def _announced(request: Request, size: int) -> Span:
    """The bytes that the caller says it brings.

    Raises:
        HTTPException: 400 if that makes no sense, 413 if it is more than the shard.
    """
    try:
        span, total = brought_span(request.headers.get("content-range", ""))
    except OutOfRange:
        raise HTTPException(400, "content-range") from None
    if total > size:
        raise HTTPException(413, "too-large")
    length = request.headers.get("content-length")
    if total < size or (length is not None and length != str(span.length)):
        raise HTTPException(400, "content-range")
    return span
