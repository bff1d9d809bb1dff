"""A stranger on the public port can do nothing: every route that the installed SuperLink has, tried with every method."""

from collections.abc import Iterable, Iterator
from itertools import product

import httpx
import pytest
from starlette.routing import BaseRoute, Route

from server.gateway.app import METHODS
from server.gateway.calls import FLEET_PATHS
from server.gateway.limits import GatewayLimits
from tests.faults.gateway_app import Caller, request

UNCOUNTED = GatewayLimits(refusals_at_once=10**6, calls_at_once=10**6)
TRIED = list(product((*METHODS, "CONNECT", "TRACE", "PROPFIND"), (True, False)))


def paths_of(routes: Iterable[BaseRoute]) -> Iterator[str]:
    """Every path that an application answers, with something in the place of each parameter."""
    for route in routes:
        router = getattr(route, "original_router", None)  # FastAPI keeps routers as they were given
        if router is not None:
            yield from paths_of(router.routes)
        else:
            assert isinstance(route, Route)
            yield filled_in(route.path)


def filled_in(path: str) -> str:
    return path.replace("{", "").replace("}", "").replace(":path", "")


@pytest.fixture(scope="module")
def superlink_paths() -> frozenset[str]:
    from flwr.superlink.main import create_app

    superlink = create_app()
    paths = frozenset(paths_of(superlink.routes))
    assert paths >= {filled_in(path) for path in superlink.openapi()["paths"]}
    return paths


def never(request: httpx.Request) -> httpx.Response:
    raise AssertionError(f"{request.method} {request.url.path} reached the SuperLink")


def test_the_superlink_has_the_ten_calls_and_many_more(superlink_paths: frozenset[str]) -> None:
    assert superlink_paths > FLEET_PATHS
    assert len(superlink_paths) > 60
    assert {"/docs", "/openapi.json", "/health"} <= superlink_paths


def test_no_route_does_anything_for_a_stranger(superlink_paths: frozenset[str]) -> None:
    stranger = Caller(upstream=never, limits=UNCOUNTED)
    for method, ends_in_slash in TRIED:
        paths = sorted(path + "/" * ends_in_slash for path in superlink_paths)
        answers = stranger.ask_all([request(method, path, headers={}) for path in paths])
        for path, answer in zip(paths, answers, strict=True):
            is_call = method == "POST" and path in FLEET_PATHS
            expected = {401} if is_call else {404, 405}
            assert answer.status_code in expected, (method, path)


def test_a_member_reaches_ten_routes_with_one_method(superlink_paths: frozenset[str]) -> None:
    reached: set[tuple[str, str]] = set()

    def upstream(request: httpx.Request) -> httpx.Response:
        reached.add((request.method, request.url.path))
        return httpx.Response(200)

    member = Caller(upstream=upstream, limits=UNCOUNTED)
    paths = sorted(superlink_paths)
    member.ask_all([request(method, path) for method, _ in TRIED for path in paths])
    assert reached == {("POST", path) for path in FLEET_PATHS}


def test_names_and_limits_are_the_installed_flowers() -> None:
    from flwr.common.constant import (
        SYSTEM_TIME_TOLERANCE,
        TIMESTAMP_HEADER,
        TIMESTAMP_TOLERANCE,
    )
    from flwr.supercore.constant import (
        FLEET_HTTP_PUBLIC_KEY_HEADER,
        FLEET_HTTP_SIGNATURE_HEADER,
    )

    from server.gateway import callers

    assert FLEET_HTTP_PUBLIC_KEY_HEADER == callers.KEY_HEADER
    assert FLEET_HTTP_SIGNATURE_HEADER == callers.SIGNATURE_HEADER
    assert TIMESTAMP_HEADER == callers.TIME_HEADER
    assert SYSTEM_TIME_TOLERANCE == callers.MAX_AHEAD_SECONDS
    assert TIMESTAMP_TOLERANCE + SYSTEM_TIME_TOLERANCE == callers.MAX_AGE_SECONDS
