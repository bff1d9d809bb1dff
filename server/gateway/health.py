"""The port's health is the SuperLink's, asked for now and then however often somebody looks."""

import asyncio
import time

import httpx
from starlette.responses import PlainTextResponse, Response

from federation.protocol import SPOKEN
from federation.visit import PROTOCOL_HEADER

FRESH_SECONDS = {200: 1.0, 503: 0.05}
"""How long what was seen is told again; whoever waits for the SuperLink to come up hears of it soon."""

LOOK_SECONDS = 5.0


class Health:
    """Remembers the last look for a moment."""

    def __init__(self, upstream: httpx.AsyncClient) -> None:
        self._upstream = upstream
        self._headers = {PROTOCOL_HEADER: str(SPOKEN)}
        self._looking = asyncio.Lock()
        self._status = 503
        self._looked = 0.0

    async def answer(self) -> Response:
        """200 if hospitals can work, else 503."""
        async with self._looking:
            if time.monotonic() - self._looked >= FRESH_SECONDS[self._status]:
                self._status = await self._look()
                self._looked = time.monotonic()
        word = "superlink" if self._status == 200 else "superlink unavailable"
        return PlainTextResponse(word, self._status, self._headers)

    async def _look(self) -> int:
        try:
            answer = await self._upstream.get("/health", timeout=LOOK_SECONDS)
        except httpx.HTTPError:
            return 503
        return 200 if answer.is_success else 503
