"""Who gets in and what gets run, tried against one real coordinator and one real hospital."""

import json
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import psutil
import pytest
from flwr.proto.runtime_pb2 import AcquireTaskRequest
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supercore.runtime import RuntimeHttpClient
from starlette.types import ASGIApp

import client.supernode
from client.config import SiteConfig
from client.supernode import NodeState, node_state
from federation.bundle import bundle_bytes, bundle_digest, bundle_files
from federation.console.doorkeeper import Doorkeeper
from federation.console.guard import LOOPBACK
from federation.files import AlreadyRunning
from federation.processes import flower_environment, free_port
from server.console.connections import Connections, ask_superlink
from server.console.run import coordinator_console
from server.control import open_control
from server.endpoint import Endpoint
from server.gateway.calls import FLEET_PATHS
from server.superlink import CoordinatorSettings, run_status, serve, stop_run, submit_run
from tests.browser.served import served, visiting

pytestmark = [pytest.mark.slow, pytest.mark.federation]

PROBE = '''
"""Sends one message to every node that is online and notes the answers."""
import json, os, time
from pathlib import Path
from flwr.app import Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

app, client = ServerApp(), ClientApp()

@app.main()
def main(grid, context):
    nodes = list(grid.get_nodes())
    ids = list(grid.push_messages(
        [Message(RecordDict(), node.node_id, "train", ttl=60) for node in nodes]))
    answers, end = [], time.time() + 30
    while len(answers) < len(ids) and time.time() < end:
        for reply in grid.pull_messages(ids):
            answers.append(reply.error.code if reply.has_error() else "executed")
        time.sleep(0.1)
    state = Path(os.environ["FEDCXR_COORDINATOR_STATE"])
    note = state / "draft"
    note.write_text(json.dumps({"names": [node.name for node in nodes], "answers": answers}))
    note.rename(state / f"{context.run_config['study']}.json")

@client.train()
def train(message, context):
    site = Path(str(context.node_config["site"]))
    (site.parent / "executed").write_text(str(context.node_config["site"]))
    return Message(RecordDict(), reply_to=message)
'''
INVALID_FAB = 7
"""Flower's code for a bundle that a node did not accept."""
COMPONENTS = {"server_component": "fedcxr_probe:app", "client_component": "fedcxr_probe:client"}
PINNED = bundle_files(**COMPONENTS)
TAMPERED = PINNED | {"extra.yaml": b"more: true\n"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Federation:
    """A running coordinator, its folder, and the profile of its one hospital."""

    state: Path
    endpoint: Endpoint
    site: SiteConfig
    site_path: Path
    leave: threading.Event
    """Ends the hospital."""

    def caller(self) -> httpx.Client:
        """Someone who trusts the coordinator and holds no key."""
        trusted = ssl.create_default_context(cafile=self.endpoint.ca_path)
        headers = {"content-type": "application/protobuf", "accept": "application/protobuf"}
        return httpx.Client(verify=trusted, headers=headers, trust_env=False, timeout=10)

    @property
    def url(self) -> str:
        """Of the gateway."""
        return f"https://127.0.0.1:{self.endpoint.port}"

    @property
    def inner_url(self) -> str:
        """Of the SuperLink, which only this machine can reach."""
        return f"https://127.0.0.1:{self.endpoint.control_port}"


def eventually(condition: Callable[[], bool], *, seconds: float = 40.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    root = tmp_path_factory.mktemp("federation of one")
    before = set(psutil.Process().children(recursive=True))  # other tests' helpers may live on
    (root / "code").mkdir()
    (root / "code" / "fedcxr_probe.py").write_text(PROBE)
    (root / "coordinator").mkdir(mode=0o700)
    (root / "coordinator" / "gateway.yaml").write_text(
        "hold_seconds: 0.2\n"
    )  # the probe rings no bell
    settings = CoordinatorSettings(
        state_path=root / "coordinator", share_path=root / "share", roster_path=root / "keys"
    )
    endpoints: list[Endpoint] = []
    stop, leave = threading.Event(), threading.Event()
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor() as pool:
        patch.setenv("PYTHONPATH", str(root / "code"))
        patch.setattr(client.supernode, "bundle_digest", lambda: bundle_digest(PINNED))
        jobs = [pool.submit(serve, settings, ready=endpoints.append, stop=stop)]
        try:
            assert eventually(lambda: bool(endpoints) or jobs[0].done())
            site = site_of(root, "north", endpoints[0].port)
            jobs.append(pool.submit(take_part, site, root / "north.yaml", leave))
            yield Federation(
                state=settings.state_path,
                endpoint=endpoints[0],
                site=site,
                site_path=root / "north.yaml",
                leave=leave,
            )
        finally:
            stop.set()
            leave.set()
        for job in jobs:
            job.result()
    assert not set(psutil.Process().children(recursive=True)) - before


def site_of(root: Path, name: str, port: int) -> SiteConfig:
    return SiteConfig(
        site_name=name,
        coordinator=f"127.0.0.1:{port}",
        ca_path=root / "share" / "ca.crt",
        data_path=root / "data",
        state_path=root / name,
        image_size=32,
        public_key_path=root / "keys" / f"{name}.pub",
    )


def take_part(site: SiteConfig, site_path: Path, stop: threading.Event) -> None:
    client.supernode.serve(site, site_path, stop=stop, on_state=lambda _: None)


def is_registered(federation: Federation) -> bool:
    return node_state(federation.site.state_path) is NodeState.REGISTERED


def test_a_hospital_whose_key_is_in_the_roster_is_registered_by_name(
    federation: Federation,
) -> None:
    assert eventually(lambda: is_registered(federation))
    with open_control(federation.endpoint.control_port, federation.endpoint.ca_path) as control:
        assert {(node.name, node.status) for node in control.nodes()} == {("north", "online")}


def test_a_bundle_other_than_the_installed_one_is_refused_and_the_installed_one_runs(
    federation: Federation,
) -> None:
    assert eventually(lambda: is_registered(federation))
    executed = federation.site_path.parent / "executed"
    assert run(federation, "tampered", TAMPERED) == {"names": ["north"], "answers": [INVALID_FAB]}
    assert not executed.exists()
    assert run(federation, "pinned", PINNED) == {"names": ["north"], "answers": ["executed"]}
    assert executed.read_text() == str(federation.site_path)


def run(federation: Federation, study: str, files: dict[str, bytes]) -> object:
    """Run the probe from a bundle; returns what its ServerApp noted."""
    with open_control(federation.endpoint.control_port, federation.endpoint.ca_path) as control:
        control.start_run(bundle_bytes(files), bundle_digest(files), {"study": study})
    note = federation.state / f"{study}.json"
    assert eventually(note.exists)
    return json.loads(note.read_text())


def test_a_key_outside_the_roster_waits_outside(federation: Federation, tmp_path: Path) -> None:
    site = replace(federation.site, state_path=tmp_path / "rogue", public_key_path=None)
    told: list[str] = []
    stop = threading.Event()
    with ThreadPoolExecutor() as pool:
        path = tmp_path / "rogue.yaml"
        job = pool.submit(client.supernode.serve, site, path, stop=stop, on_state=told.append)
        try:
            assert eventually(lambda: "waiting to be admitted by the coordinator" in told)
            assert node_state(site.state_path) is NodeState.WAITING
        finally:
            stop.set()
        job.result()
    assert "registered" not in told
    assert node_state(site.state_path) is NodeState.STOPPED


def test_a_node_without_a_key_is_refused(federation: Federation, tmp_path: Path) -> None:
    answer = subprocess.run(
        [
            *("flower-supernode", "--superlink", f"127.0.0.1:{federation.endpoint.port}"),
            *("--root-certificates", str(federation.endpoint.ca_path), "--isolation", "process"),
            *("--host", "127.0.0.1", "--port", str(free_port())),
        ],
        env=flower_environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert answer.returncode != 0
    assert "Failed to initialize the connection" in answer.stdout + answer.stderr


def test_without_a_key_no_route_of_the_superlink_does_anything_through_the_gateway(
    federation: Federation,
) -> None:
    with federation.caller() as caller:
        paths = caller.get(f"{federation.inner_url}/openapi.json").json()["paths"]
        routes = [(verb.upper(), path) for path, verbs in paths.items() for verb in verbs]
        pages = [("GET", page) for page in ("/docs", "/redoc", "/openapi.json", "/health")]
        answers = {
            (verb, path): caller.request(verb, federation.url + path).status_code
            for verb, path in [*routes, *pages]
        }
    passed = {path for (_, path), status in answers.items() if status != 404}
    assert len(routes) > 60
    assert passed == FLEET_PATHS
    assert {answers["POST", path] for path in FLEET_PATHS} == {401}


def test_a_run_cannot_be_submitted_through_the_gateway(
    federation: Federation, tmp_path: Path
) -> None:
    for path, content in bundle_files().items():
        (tmp_path / "app").mkdir(exist_ok=True)
        (tmp_path / "app" / path).write_bytes(content)
    environment = flower_environment(tmp_path / "flower")
    connection = f'address = "127.0.0.1:{federation.endpoint.port}"\nroot-certificates = "{federation.endpoint.ca_path}"\n'
    (tmp_path / "flower" / "config.toml").write_text(
        f'[superlink]\ndefault = "gateway"\n[superlink.gateway]\n{connection}'
    )
    answer = subprocess.run(
        ["flwr", "run", str(tmp_path / "app"), "gateway", "--format", "json"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    outcome = json.loads(answer.stdout)
    assert not outcome["success"]
    assert "404" in outcome["error-message"]


def test_a_task_cannot_be_taken_without_the_secret_even_on_the_same_machine(
    federation: Federation,
) -> None:
    connection = RuntimeHttpClient.from_server_address(
        f"127.0.0.1:{federation.endpoint.control_port}",
        insecure=False,
        root_certificates=federation.endpoint.ca_path.read_bytes(),
        interceptors=[RuntimeVersionHttpInterceptor(component_name="SuperExec")],
    )
    with connection as caller, pytest.raises(httpx.HTTPStatusError) as refusal:
        caller.AcquireTask(AcquireTaskRequest(supported_task_types=["flwr-serverapp"]))
    assert refusal.value.response.status_code == 401


def test_a_second_coordinator_and_a_second_node_in_one_folder_are_refused(
    federation: Federation,
) -> None:
    stop = threading.Event()
    settings = CoordinatorSettings(state_path=federation.state)
    with pytest.raises(AlreadyRunning, match="stop that one first"):
        serve(settings, ready=lambda _: None, stop=stop)
    with pytest.raises(AlreadyRunning, match="stop that one first"):
        take_part(federation.site, federation.site_path, stop)


def test_a_run_of_the_installed_release_can_be_submitted_watched_and_stopped(
    federation: Federation,
) -> None:
    run_id = submit_run(federation.state, {"study": "none"})
    assert run_status(federation.state, run_id) in {"pending", "starting", "running"}
    stop_run(federation.state, run_id)
    assert run_status(federation.state, run_id) == "finished:stopped"


def test_the_hospital_is_back_soon_after_superlink_and_node_were_killed(
    federation: Federation,
) -> None:
    assert eventually(lambda: is_registered(federation))
    status = federation.site.state_path / "node.status"
    children = psutil.Process().children()
    victims = [
        child
        for child in children
        if child.status() != psutil.STATUS_ZOMBIE  # what another test left has no command line
        and {"client.node_launcher", "--enable-supernode-auth"} & set(child.cmdline())
    ]
    assert len(victims) == 2
    for victim in victims:
        victim.kill()
    with federation.caller() as caller:
        health = f"{federation.url}/healthz"
        assert eventually(lambda: caller.get(health).status_code == 503)
        killed = time.time()
        assert eventually(lambda: caller.get(health).status_code == 200)
    assert eventually(lambda: is_registered(federation) and status.stat().st_mtime > killed)


def test_the_console_says_who_is_on_the_roster_connected_or_not_and_since_when(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.console.connections.KEEP_SECONDS", 0.0)
    assert eventually(lambda: ask_superlink(federation.state)["north"].is_open)
    before, asked = ask_superlink(federation.state)["north"], time.time()

    def build(door: Doorkeeper, port: int) -> ASGIApp:
        nodes = Connections(state_path=federation.state)
        return coordinator_console(nodes, door, hosts=LOOPBACK, port=port, is_secure=False)

    with served(build) as console, visiting(console) as visitor:
        page = visitor.read("/hospitals").text
        assert [page.count(word) for word in ("member, no certificate", ">connected<")] == [1, 1]
        federation.leave.set()  # for good: no other test comes after this one
        assert eventually(lambda: ">not connected<" in visitor.read("/hospitals").text)
    gone = ask_superlink(federation.state)["north"]
    assert not gone.is_open
    assert before.since is not None
    assert gone.since is not None
    assert before.since < asked < gone.since < time.time()
