"""The application behind the port: ten calls of Flower's, shards, enrolment, health, and not found."""

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from federation.bells import Bells
from federation.visit import HEALTH_PATH
from server.gateway.calls import FLEET_PATHS, FleetCalls, Members
from server.gateway.edge import Edge
from server.gateway.health import Health
from server.gateway.journal import Journal
from server.gateway.limits import GatewayLimits
from server.gateway.strikes import Strikes

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def gateway_app(
    upstream: httpx.AsyncClient,
    *,
    limits: GatewayLimits,
    journal: Journal,
    strikes: Strikes,
    members: Members,
    bells: Bells,
    routes: Sequence[BaseRoute],
    while_open: Callable[[], AbstractAsyncContextManager[None]] = contextlib.nullcontext,
) -> ASGIApp:
    """The gateway in front of one upstream.

    Args:
        upstream: reaches the SuperLink.
        limits: of the callers.
        journal: is told what happens.
        strikes: what addresses may still get wrong.
        members: whose nodes may call.
        bells: tell of questions and of answers.
        routes: what is served beside Flower's calls.
        while_open: entered before the first request and left after the last.
    """
    calls = FleetCalls(upstream, limits=limits, strikes=strikes, members=members, bells=bells)
    health = Health(upstream)

    async def rest(request: Request) -> Response:
        path, method = request.scope["path"], request.method
        if path in FLEET_PATHS and method == "POST":
            return await calls.answer(request)
        if path == HEALTH_PATH and method == "GET":
            return await health.answer()
        return PlainTextResponse("not found", 404)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with upstream, while_open():
            yield

    everything = Route("/{path:path}", rest, methods=METHODS)
    app = Starlette(routes=[*routes, everything], lifespan=lifespan)
    app.router.redirect_slashes = False
    return Edge(app, journal=journal, strikes=strikes)
