"""A body that stops coming is given up, and what came of it stays."""

import asyncio
from collections.abc import Sequence

import pytest
from starlette.requests import Request

from server.blobs import body
from server.blobs.body import BLOCK_BYTES, LineSilent, blocks

Messages = Sequence[dict[str, object]]


def part(content: bytes, *, more: bool = True) -> dict[str, object]:
    return {"type": "http.request", "body": content, "more_body": more}


def read(messages: Messages) -> tuple[list[int], bool]:
    """Lengths of the blocks, and whether the line was given up."""
    coming = list(messages)

    async def receive() -> dict[str, object]:
        if not coming:
            await asyncio.sleep(3600)
        return coming.pop(0)

    async def collect() -> tuple[list[int], bool]:
        lengths: list[int] = []
        silent = False
        iterator = blocks(Request({"type": "http"}, receive))
        while not silent:
            try:
                lengths.append(sum(map(len, await anext(iterator))))
            except StopAsyncIteration:
                break
            except LineSilent:
                silent = True
        return lengths, silent

    return asyncio.run(collect())


def test_a_body_comes_in_blocks() -> None:
    half = bytes(BLOCK_BYTES // 2)
    assert read([part(half), part(half), part(b"rest", more=False)]) == ([BLOCK_BYTES, 4], False)


def test_a_body_whose_line_breaks_gives_what_came() -> None:
    assert read([part(b"some"), {"type": "http.disconnect"}]) == ([4], False)


def test_a_body_that_stops_coming_gives_what_came(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "SILENCE_SECONDS", 0.05)
    assert read([part(b"some")]) == ([4], True)
