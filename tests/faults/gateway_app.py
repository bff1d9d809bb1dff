"""The gateway's application in this process, in front of a made-up SuperLink."""

import asyncio
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
from starlette.routing import BaseRoute

from federation.bells import bells_of
from server.gateway.app import gateway_app
from server.gateway.counters import Counters
from server.gateway.journal import Journal
from server.gateway.limits import GatewayLimits
from server.gateway.strikes import Strikes
from tests.faults.signed_calls import signed

Upstream = Callable[[httpx.Request], httpx.Response]


@dataclass(frozen=True, kw_only=True, slots=True)
class Everyone:
    """Members of which all are in force, or none."""

    word: str | None = None

    def why_refused(self, headers: Mapping[str, str]) -> str | None:
        """The same for all."""
        assert "flwr-public-key" in headers
        return self.word

    def member(self, headers: Mapping[str, str]) -> str:
        """Nobody is known by name."""
        assert "flwr-public-key" in headers
        return ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Sends requests to one gateway, one after another.

    Args:
        host: address it calls from.
    """

    upstream: Upstream
    host: str = "192.0.2.1"
    limits: GatewayLimits = field(default_factory=GatewayLimits)
    refusal: str | None = None
    routes: Sequence[BaseRoute] = ()
    hold_seconds: float = 0.01

    def ask_all(self, requests: Sequence[httpx.Request]) -> list[httpx.Response]:
        """The answers, in order."""
        return asyncio.run(self._ask_all(requests))

    async def _ask_all(self, requests: Sequence[httpx.Request]) -> list[httpx.Response]:
        behind = httpx.AsyncClient(
            base_url="https://superlink", transport=httpx.MockTransport(self.upstream)
        )
        limits = replace(self.limits, hold_seconds=self.hold_seconds)
        with tempfile.TemporaryDirectory() as folder:
            app = gateway_app(
                behind,
                limits=limits,
                journal=Journal(Counters(Path(folder))),
                strikes=Strikes(limits),
                members=Everyone(word=self.refusal),
                bells=bells_of(Path(folder)),
                routes=self.routes,
            )
            front = httpx.ASGITransport(app=app, client=(self.host, 1))
            async with httpx.AsyncClient(transport=front) as caller:
                return [await caller.send(request) for request in requests]


def request(
    method: str, path: str, *, content: bytes = b"", headers: Mapping[str, str] | None = None
) -> httpx.Request:
    """A request with these headers, or with a node's."""
    told = signed() if headers is None else headers
    return httpx.Request(method, f"https://gateway{path}", content=content, headers=told)
