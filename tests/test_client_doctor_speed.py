"""The line is measured between a hospital and a real gateway, within seconds and limits; strangers get nothing."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from client.config import SiteConfig
from client.control.limits import Limits
from client.control.orders import change_orders, order
from client.doctor.speed import NotMeasured, measure
from federation.line_speed import MAX_PROBE_BYTES, SPEED_PATH
from federation.node_keys import make_node_key, publish_public_key
from server.gateway.speed import PROBES_AT_ONCE, SpeedRoute
from tests.faults.gateway_app import Caller, Everyone, request
from tests.faults.gateway_process import Gateway, running_gateway


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with running_gateway() as running:
        yield running


@pytest.fixture(scope="module")
def member(gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> SiteConfig:
    """A hospital that the roster knows, from before anybody called."""
    site = hospital("north", gateway, tmp_path_factory.mktemp("north"))
    key = make_node_key(site.state_path, site.site_name)
    publish_public_key(key, gateway.state / "roster" / "north.pub")
    return site


def hospital(name: str, gateway: Gateway, folder: Path) -> SiteConfig:
    site = SiteConfig(
        site_name=name,
        coordinator=f"127.0.0.1:{gateway.port}",
        ca_path=gateway.state / "tls" / "ca.crt",
        data_path=folder,
        state_path=folder / "state",
        image_size=32,
    )
    make_node_key(site.state_path, site.site_name)
    return site


def _why_not(site: SiteConfig) -> str:
    try:
        measure(site)
    except NotMeasured as err:
        return str(err)
    return ""


@pytest.mark.slow
def test_a_line_is_measured_both_ways_in_seconds_and_within_the_hospitals_limits(
    member: SiteConfig,
) -> None:
    started = time.monotonic()
    speed = measure(member)
    assert time.monotonic() - started < 3
    assert min(speed.down, speed.up) > 1e6
    slow = measure(replace(member, limits=Limits(upload_bytes_per_second=100_000)))
    assert slow.up <= 100_000
    change_orders(member.state_path, lambda before: replace(before, paused=order("ann")))
    assert "paused" in _why_not(member)


def test_whoever_is_not_in_the_roster_or_shows_no_key_gets_no_byte(
    gateway: Gateway, member: SiteConfig, tmp_path: Path
) -> None:
    assert member.site_name != "stranger"
    site = hospital("stranger", gateway, tmp_path)
    assert "fedcxr hospital join" in _why_not(site)
    status, _, content = gateway.call("GET", f"{SPEED_PATH}?bytes=9", "")
    assert (status, content) == (401, b"unsigned")
    (site.state_path / "node.key").unlink()
    assert "no key" in _why_not(site)


def asked(*requests: tuple[str, str, bytes], members: Everyone) -> list[int]:
    def never(_: object) -> None:
        raise AssertionError

    routes = SpeedRoute(members).routes()
    caller = Caller(upstream=never, routes=routes)  # type: ignore[arg-type]
    calls = [
        request(method, f"{SPEED_PATH}{query}", content=body) for method, query, body in requests
    ]
    return [answer.status_code for answer in caller.ask_all(calls)]


class Known(Everyone):
    """Members that the roster has a name for."""

    def member(self, headers: object) -> str:
        """The same for all."""
        del headers
        return "north"


def test_a_member_gets_and_leaves_a_few_megabytes_at_a_time_a_few_times_a_minute() -> None:
    much, few = ("GET", f"?bytes={MAX_PROBE_BYTES + 1}", b""), ("GET", "?bytes=5", b"")
    odd = [("GET", query, b"") for query in ("", "?bytes=-1", "?bytes=x", "?bytes=" + "9" * 30)]
    assert asked(much, *odd, few, members=Known()) == [*[400] * 5, 200]
    assert asked(*[few] * (PROBES_AT_ONCE + 1), members=Known())[-2:] == [200, 503]
    left = [("PUT", "?bytes=5", bytes(n)) for n in (5, MAX_PROBE_BYTES + 1)]
    assert asked(*left, members=Known()) == [200, 413]
    assert asked(few, members=Everyone()) == [403]
    assert asked(few, members=Known(word="revoked")) == [403]
