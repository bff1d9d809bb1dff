"""The body of a request, as it comes off the line: never more than a block of it in memory, and never waited for long."""

import asyncio
from collections.abc import AsyncIterator

from starlette.requests import Request

BLOCK_BYTES = 2**19
"""What is handed to the disk at once; as much again is read meanwhile."""
SILENCE_SECONDS = 10.0
"""A line on which nothing moves for so long is given up; its caller goes on where it was."""


class LineSilent(Exception):
    """Nothing came for too long."""


async def blocks(request: Request) -> AsyncIterator[list[bytes]]:
    """What comes, in blocks of chunks. A body that ends early gives what came of it.

    Raises:
        LineSilent: after the last block, if the line is up but nothing comes.
    """
    block: list[bytes] = []
    length = 0
    silent = False
    try:
        async for chunk in _chunks(request):
            block.append(chunk)
            length += len(chunk)
            if length >= BLOCK_BYTES:
                yield block
                block, length = [], 0
    except TimeoutError:
        silent = True
    if block:
        yield block
    if silent:
        raise LineSilent


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    more = True
    while more:
        async with asyncio.timeout(SILENCE_SECONDS):
            message = await request.receive()
        if chunk := message.get("body"):
            yield chunk
        more = message.get(
            "more_body", False
        )  # nothing of this is in the note of a line that broke
