"""The coordinator's one public port: passes what a hospital's node needs, and nothing else.

Flower serves its nodes, its operators and its own processes on a single port, and asks only nodes for a
credential. That port stays on loopback; this gateway stands in front of it, and serves shards of tensors itself.
"""

import argparse
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from federation.processes import die_with_parent
from server.blobs.routes import BlobRoutes

FLEET_CALLS = (
    *("activate-node", "deactivate-node", "send-node-heartbeat", "get-run", "get-fab"),
    *("pull-messages", "push-messages", "pull-object", "push-object", "confirm-message-received"),
)
FLEET_PATHS = frozenset(f"/v1/fleet/{call}" for call in FLEET_CALLS)
HEALTH_PATH = "/healthz"
MAX_BODY_BYTES = 16 * 2**20
"""Tensors travel in pieces of 5 MiB."""
HOP_BY_HOP = (
    *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer"),
    *("transfer-encoding", "upgrade", "content-encoding", "content-length", "host"),
)
"""Headers about one connection, or about a body that both ends count and unpack for themselves."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GatewaySettings:
    """Where to listen, and the port on loopback where the SuperLink does."""

    host: str
    port: int
    upstream_port: int
    cert_path: Path
    key_path: Path
    ca_path: Path
    """Authority that signed the SuperLink's certificate."""
    state_path: Path
    """The coordinator's state folder, for the blobs in it."""


class BodyTooLarge(Exception):
    """The caller sent more than any message of the protocol needs."""


def gateway_app(upstream: httpx.AsyncClient, *, blobs: Sequence[BaseRoute]) -> Starlette:
    """The gateway in front of one upstream, and beside these blobs."""

    async def forward(request: Request) -> Response:
        if request.url.path == HEALTH_PATH and request.method == "GET":
            return await _health(upstream)
        if request.url.path not in FLEET_PATHS or request.method != "POST":
            return PlainTextResponse("not found", 404)
        try:
            return await _pass_on(upstream, request)
        except BodyTooLarge:
            return PlainTextResponse("too large", 413)
        except ClientDisconnect:
            return PlainTextResponse("gone", 400)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with upstream:
            yield

    methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
    rest = Route("/{path:path}", forward, methods=methods)
    return Starlette(routes=[*blobs, rest], lifespan=lifespan)


async def _health(upstream: httpx.AsyncClient) -> Response:
    try:
        answer = await upstream.get("/health")
    except httpx.HTTPError:
        return PlainTextResponse("superlink unavailable", 503)
    return PlainTextResponse("superlink", 200 if answer.is_success else 503)


async def _pass_on(upstream: httpx.AsyncClient, request: Request) -> Response:
    body = await _read_body(request)
    headers = [(name, value) for name, value in request.headers.items() if name not in HOP_BY_HOP]
    try:
        answer = await upstream.post(request.url.path, content=body, headers=headers)
    except httpx.HTTPError:
        return PlainTextResponse("superlink unavailable", 503)
    # A node tries again after 503 but loses its reply, or ends, after 500.
    status = 503 if answer.status_code == 500 else answer.status_code
    kept = {name: value for name, value in answer.headers.items() if name not in HOP_BY_HOP}
    return Response(answer.content, status, headers=kept)


async def _read_body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise BodyTooLarge
    return bytes(body)


def _modern_tls(_: uvicorn.Config, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    context = default()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def run_gateway(settings: GatewaySettings) -> None:
    """Serve until told to stop."""
    trusted = ssl.create_default_context(cafile=settings.ca_path)
    upstream = httpx.AsyncClient(
        base_url=f"https://127.0.0.1:{settings.upstream_port}",
        verify=trusted,
        timeout=60.0,
        trust_env=False,
    )
    uvicorn.run(
        gateway_app(upstream, blobs=BlobRoutes(settings.state_path).routes()),
        host=settings.host,
        port=settings.port,
        ssl_certfile=settings.cert_path,
        ssl_keyfile=settings.key_path,
        ssl_context_factory=_modern_tls,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=2,
    )


def _parse_settings() -> GatewaySettings:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("--upstream-port", required=True, type=int)
    parser.add_argument("--cert", required=True, type=Path, dest="cert_path")
    parser.add_argument("--key", required=True, type=Path, dest="key_path")
    parser.add_argument("--ca", required=True, type=Path, dest="ca_path")
    parser.add_argument("--state", required=True, type=Path, dest="state_path")
    return GatewaySettings(**vars(parser.parse_args()))


if __name__ == "__main__":
    die_with_parent()
    run_gateway(_parse_settings())
