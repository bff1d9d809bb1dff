"""Out of a hospital through the proxy that its profile names: weights, and Flower's node itself."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import client.supernode
from client.config import SiteConfig, load_site
from client.transfer.leave import leave_shards
from client.transfer.proxy import Proxy, proxy_environment, proxy_towards
from federation.certificates import issue_certificate, make_authority
from federation.messages import Ticket
from federation.parcel import pack, shards_in_file
from federation.strict_yaml import ConfigError
from model.tensors import InMemory
from server.gateway.counters import Access, read_access
from tests.faults.blob_server import TOKEN, BlobServer, Shelf, hospital
from tests.faults.gateway_process import running_gateway, wait_for
from tests.faults.tiny_proxy import TinyProxy

PROFILE = "http://proxy.example:3128"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy in the environment, except what a test puts there."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def proxy() -> Iterator[TinyProxy]:
    running = TinyProxy(b"HTTP/1.1 200 Connection established\r\n\r\n")
    yield running
    running.close()


def test_the_profiles_proxy_counts_before_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://other.example:1")
    found = proxy_towards("coordinator.example", 8443, profile=PROFILE)
    assert found == Proxy(host="proxy.example", port=3128)


def test_what_the_environment_exempts_is_reached_without_the_profiles_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NO_PROXY", "coordinator.example")
    assert proxy_towards("coordinator.example", 8443, profile=PROFILE) is None
    assert proxy_towards("elsewhere.example", 8443, profile=PROFILE) is not None


def test_other_programs_are_told_of_a_proxy_only_if_there_is_one() -> None:
    assert proxy_environment(None) == {}
    assert proxy_environment(PROFILE) == {"HTTPS_PROXY": PROFILE, "https_proxy": PROFILE}


@pytest.mark.parametrize(
    "address", ["http://me:secret@proxy:1", "https://proxy:443", "proxy:3128", "http://proxy"]
)
def test_a_profile_names_a_proxy_in_one_way_and_without_a_password(
    tmp_path: Path, address: str
) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(
        "site_name: north\ncoordinator: a:1\nca_path: ca\nstate_path: s\nimage_size: 32\n"
        f"data_path: d\nproxy: {address}\n"
    )
    with pytest.raises(ConfigError, match="proxy"):
        load_site(site)


def test_weights_leave_through_the_profiles_proxy(tmp_path: Path, proxy: TinyProxy) -> None:
    parcel = pack(tmp_path / "change", InMemory({"w": np.ones(1000, np.float32)}), "fp32")
    shelf = Shelf(expected=list(parcel.digests), sizes=list(parcel.sizes))
    ticket = Ticket(links=("/blobs/x/0",), token=TOKEN, expires=int(time.time() + 60))
    with BlobServer(tmp_path, shelf) as server:
        site = replace(hospital(tmp_path, server.port), proxy=f"http://127.0.0.1:{proxy.port}")
        leave_shards(site, ticket, parcel, shards_in_file(parcel, tmp_path / "change"), [0])
    assert len(shelf.left) == 1
    assert [head.split()[0] for head in proxy.asked] == ["CONNECT"]


@pytest.mark.slow
@pytest.mark.federation
def test_flowers_node_signs_its_calls_to_a_coordinator_that_only_the_proxy_can_reach(
    tmp_path: Path, proxy: TinyProxy
) -> None:
    stop = threading.Event()
    with running_gateway() as gateway, ThreadPoolExecutor() as pool:
        tls = gateway.state / "tls"
        issue_certificate(tls, make_authority(tls), ("coordinator.example",))
        gateway.stop()
        gateway.start()
        site = SiteConfig(
            site_name="north",
            coordinator=f"coordinator.example:{gateway.port}",
            ca_path=tls / "ca.crt",
            proxy=f"http://127.0.0.1:{proxy.port}",
            data_path=tmp_path,
            state_path=tmp_path / "north",
            image_size=32,
        )
        path = tmp_path / "north.yaml"
        job = pool.submit(client.supernode.serve, site, path, stop=stop, on_state=lambda _: None)

        def count(status: int) -> int:
            access = read_access(gateway.state) or Access(started=0)
            return access.counts.get(f"answered.fleet.{status}", 0)

        try:
            wait_for(lambda: job.done() or count(503) > 0)  # nobody is behind this gateway
        finally:
            stop.set()
        job.result()
        assert count(503) > 0
        assert count(401) == 0
    assert f"CONNECT coordinator.example:{gateway.port}" in proxy.asked[0]
