"""The gateway passes what a node needs, and nothing else."""

import asyncio
from collections.abc import Callable

import httpx
import pytest

from server.gateway import FLEET_PATHS, MAX_BODY_BYTES, gateway_app

PATH = "/v1/fleet/pull-messages"


def through(
    upstream: Callable[[httpx.Request], httpx.Response],
    method: str,
    path: str,
    *,
    content: bytes = b"",
    headers: dict[str, str] | None = None,
) -> httpx.Response:
    """Send one request through a gateway in front of a made-up SuperLink."""

    async def send() -> httpx.Response:
        behind = httpx.AsyncClient(
            base_url="https://superlink", transport=httpx.MockTransport(upstream)
        )
        front = httpx.ASGITransport(app=gateway_app(behind, blobs=()))
        async with httpx.AsyncClient(base_url="https://gateway", transport=front) as caller:
            return await caller.request(method, path, content=content, headers=headers)

    return asyncio.run(send())


def never(request: httpx.Request) -> httpx.Response:
    raise AssertionError(f"{request.url.path} reached the SuperLink")


def echo(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, content=request.content, headers={"x-path": request.url.path})


def test_exactly_ten_calls_pass() -> None:
    passed = {path: through(echo, "POST", path).headers["x-path"] for path in FLEET_PATHS}
    assert len(passed) == 10
    assert all(path == seen for path, seen in passed.items())


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/control/start-run"),
        ("POST", "/v1/runtime/acquire-task"),
        ("POST", "/v1/fleet/register-node"),
        ("POST", "/v1/fleet/unregister-node"),
        ("POST", f"{PATH}/"),
        ("POST", "/v1/fleet/%2e%2e/control/start-run"),
        ("POST", "/v1/fleet/../control/start-run"),
        ("POST", "//v1/fleet/pull-messages"),
        ("POST", "/V1/FLEET/PULL-MESSAGES"),
        ("POST", "/healthz"),
        ("GET", PATH),
        ("PUT", PATH),
        ("GET", "/openapi.json"),
        ("GET", "/docs"),
        ("GET", "/health"),
        ("GET", "/"),
    ],
)
def test_everything_else_is_not_found(method: str, path: str) -> None:
    assert through(never, method, path).status_code == 404


def test_body_and_credentials_arrive_unchanged() -> None:
    seen: dict[str, str] = {}

    def upstream(request: httpx.Request) -> httpx.Response:
        seen.update(request.headers)
        return echo(request)

    headers = {"x-signature": "abc", "content-type": "application/protobuf", "te": "trailers"}
    answer = through(upstream, "POST", PATH, content=b"\x00\xff", headers=headers)
    assert (answer.content, seen["x-signature"]) == (b"\x00\xff", "abc")
    assert (seen["content-type"], seen["content-length"]) == ("application/protobuf", "2")
    assert "te" not in seen


def test_a_query_string_does_not_travel() -> None:
    def upstream(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=request.url.query)

    assert through(upstream, "POST", f"{PATH}?a=b").content == b""


@pytest.mark.parametrize("extra", [0, 1])
def test_a_body_may_be_16_mib_and_not_a_byte_more(extra: int) -> None:
    answer = through(echo, "POST", PATH, content=bytes(MAX_BODY_BYTES + extra))
    assert answer.status_code == (413 if extra else 200)


@pytest.mark.parametrize(
    ("status", "expected"), [(500, 503), (503, 503), (401, 401), (412, 412), (422, 422)]
)
def test_an_internal_error_becomes_try_again(status: int, expected: int) -> None:
    assert through(lambda _: httpx.Response(status), "POST", PATH).status_code == expected


@pytest.mark.parametrize(("method", "path"), [("POST", PATH), ("GET", "/healthz")])
def test_a_superlink_that_is_down_becomes_try_again(method: str, path: str) -> None:
    def down(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    assert through(down, method, path).status_code == 503


@pytest.mark.parametrize(("status", "expected"), [(200, 200), (500, 503)])
def test_health_is_the_superlinks(status: int, expected: int) -> None:
    assert through(lambda _: httpx.Response(status), "GET", "/healthz").status_code == expected
