"""The gateway passes what a member's node needs, and nothing else."""

from collections.abc import Callable, Mapping

import httpx
import pytest

from server.gateway.calls import FLEET_PATHS
from server.gateway.edge import MAX_BODY_BYTES, MAX_SMALL_BODY_BYTES
from server.gateway.limits import GatewayLimits
from tests.faults.gateway_app import Caller, Upstream, request
from tests.faults.signed_calls import KEY, OTHER_KEY, signed

PATH = "/v1/fleet/pull-messages"


def through(
    upstream: Upstream,
    method: str,
    path: str,
    *,
    content: bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> httpx.Response:
    """Send one request of a member's through a gateway in front of a made-up SuperLink."""
    sent = request(method, path, content=content, headers=headers)
    return Caller(upstream=upstream).ask_all([sent])[0]


def never(request: httpx.Request) -> httpx.Response:
    raise AssertionError(f"{request.url.path} reached the SuperLink")


def echo(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, content=request.content, headers={"flwr-path": request.url.path})


def test_exactly_ten_calls_pass() -> None:
    passed = {path: through(echo, "POST", path).headers["flwr-path"] for path in FLEET_PATHS}
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
        ("POST", "/v1/fleet/pull%2dmessages"),
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


def test_body_and_credentials_arrive_unchanged_and_nothing_else_does() -> None:
    seen: dict[str, str] = {}

    def upstream(request: httpx.Request) -> httpx.Response:
        seen.update(request.headers)
        return echo(request)

    others = {
        "content-type": "application/protobuf",
        "te": "trailers",
        "forwarded": "for=1.2.3.4",
        "flwr-superexec-signature": "made up",
        "flwr-task-token": "made up",
    }
    answer = through(upstream, "POST", PATH, content=b"\x00\xff", headers=signed() | others)
    assert answer.content == b"\x00\xff"
    assert seen["content-type"] == "application/protobuf"
    assert {name for name in seen if name.startswith("flwr-")} == set(signed())
    assert not {"te", "forwarded"} & set(seen)


def test_a_query_string_does_not_travel() -> None:
    def upstream(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=request.url.query)

    assert through(upstream, "POST", f"{PATH}?a=b").content == b""


@pytest.mark.parametrize("extra", [0, 1])
def test_a_body_may_be_16_mib_and_not_a_byte_more(extra: int) -> None:
    answer = through(echo, "POST", PATH, content=bytes(MAX_BODY_BYTES + extra))
    assert answer.status_code == (413 if extra else 200)
    assert len(answer.content) == (9 if extra else MAX_BODY_BYTES)


def test_what_is_not_a_call_of_flowers_may_bring_little() -> None:
    answer = through(never, "POST", "/enrol/join", content=bytes(MAX_SMALL_BODY_BYTES + 1))
    assert (answer.status_code, answer.headers["connection"]) == (413, "close")


@pytest.mark.parametrize(
    ("headers", "word"),
    [
        (dict, "unsigned"),
        (lambda: {"flwr-public-key": "?"}, "unsigned"),
        (lambda: signed() | {"flwr-timestamp": "yesterday"}, "unsigned"),
        (lambda: signed() | {"flwr-timestamp": "2026-01-01T00:00:00"}, "unsigned"),
        (lambda: signed() | {"flwr-public-key": "AAAA"}, "unsigned"),
        (lambda: signed(late_seconds=306), "clock"),
        (lambda: signed(late_seconds=-60), "clock"),
        (lambda: signed(signer=OTHER_KEY), "signature"),
    ],
    ids=["nothing", "no key", "no time", "no zone", "no such key", "late", "early", "another key"],
)
def test_a_call_that_nobody_signed_now_ends_at_the_gateway(
    headers: Callable[[], dict[str, str]], word: str
) -> None:
    answer = through(never, "POST", PATH, content=b"x", headers=headers())
    assert (answer.status_code, answer.text) == (401, word)


def test_a_call_of_whoever_is_no_member_ends_at_the_gateway() -> None:
    caller = Caller(upstream=never, refusal="revoked")
    (answer,) = caller.ask_all([request("POST", PATH)])
    assert (answer.status_code, answer.text) == (403, "revoked")


@pytest.mark.parametrize("late_seconds", [300, -4])
def test_a_clock_may_be_off_by_as_much_as_flower_bears(late_seconds: int) -> None:
    headers = signed(late_seconds=late_seconds)
    assert through(echo, "POST", PATH, headers=headers).status_code == 200


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


def test_many_looks_at_the_health_ask_the_superlink_once() -> None:
    asked: list[str] = []

    def upstream(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(200)

    answers = Caller(upstream=upstream).ask_all([request("GET", "/healthz")] * 20)
    assert {answer.status_code for answer in answers} == {200}
    assert asked == ["/health"]


LITTLE = GatewayLimits(
    refusals_at_once=3, refusals_per_second=0.01, calls_at_once=5, calls_per_second=0.01
)
LOOKING_AROUND = request("GET", "/docs", headers={})


def statuses(caller: Caller, requests: list[httpx.Request]) -> list[int]:
    return [answer.status_code for answer in caller.ask_all(requests)]


def test_an_address_that_tries_doors_is_not_listened_to_for_a_while() -> None:
    around = [LOOKING_AROUND] * 3
    stranger = [request("POST", PATH, headers={}), request("POST", PATH)]
    tried = [*around, LOOKING_AROUND, request("GET", "/healthz"), *stranger]
    assert statuses(Caller(upstream=never, limits=LITTLE), tried) == [404] * 3 + [429] * 4


def test_a_hospital_that_is_known_is_heard_also_beside_one_that_tries_doors() -> None:
    tried = [request("POST", PATH), *[LOOKING_AROUND] * 4, request("POST", PATH)]
    assert statuses(Caller(upstream=echo, limits=LITTLE), tried) == [200, *[404] * 3, 429, 200]


def test_the_coordinators_own_machine_may_try_as_often_as_it_likes() -> None:
    caller = Caller(upstream=never, limits=LITTLE, host="127.0.0.1")
    assert statuses(caller, [LOOKING_AROUND] * 9) == [404] * 9


def test_one_node_that_calls_too_often_waits_and_another_does_not() -> None:
    calls = [*[request("POST", PATH)] * 6, request("POST", PATH, headers=signed(OTHER_KEY))]
    assert statuses(Caller(upstream=echo, limits=LITTLE), calls) == [*[200] * 5, 503, 200]


def test_nobody_uses_up_the_calls_of_a_node_whose_key_it_only_knows() -> None:
    forged = request("POST", PATH, headers=signed(KEY, signer=OTHER_KEY))
    calls = [request("POST", PATH), *[forged] * 9, request("POST", PATH)]
    assert statuses(Caller(upstream=echo, limits=LITTLE), calls) == [200, *[401] * 9, 200]
