"""A hospital's node runs its own release only, knows how it stands, and says so."""

import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import cast

import httpx
import pytest
from flwr.proto.fleet_pb2 import ActivateNodeRequest, ActivateNodeResponse, DeactivateNodeRequest
from flwr.supercore.constant import TaskType
from flwr.supercore.heartbeat import HeartbeatFailure, HeartbeatSender
from flwr.supercore.superexec.executor.subprocess_executor import SubprocessExecutor
from flwr.supercore.superexec.executor.types import ExecutionSpec, LaunchResultStatus
from flwr.supernode.fleet_http_client import FleetHttpClient

from client.config import SiteConfig
from client.control.running import LOCK_NAME
from client.flower_names import FlowerChanged, replace_name
from client.node_executor import use_nursery
from client.node_launcher import is_installed_release, keep_heart_beating, wait_for_admission
from client.node_status import NodeStatus, read_status, write_status
from client.supernode import STATUS_NAME, NodeState, node_state, serve
from federation.bundle import bundle_bytes, bundle_digest, bundle_files
from federation.files import AlreadyRunning, hold_lock

DIGEST = bundle_digest()


def unpacked(home: Path, files: dict[str, bytes]) -> None:
    folder = home / "apps" / f"fedcxr.fedcxr.0.1.0.{DIGEST[:8]}"
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


def test_the_installed_release_is_accepted(tmp_path: Path) -> None:
    assert is_installed_release(bundle_bytes(), DIGEST, DIGEST, tmp_path)
    unpacked(tmp_path, bundle_files())
    assert is_installed_release(bundle_bytes(), DIGEST, DIGEST, tmp_path)


def test_a_bundle_with_one_more_byte_is_refused(tmp_path: Path) -> None:
    assert not is_installed_release(bundle_bytes() + b"\0", DIGEST, DIGEST, tmp_path)


def test_the_right_bundle_under_a_wrong_name_is_refused(tmp_path: Path) -> None:
    assert not is_installed_release(bundle_bytes(), "0" * 64, DIGEST, tmp_path)


@pytest.mark.parametrize("planted", [{"client/app.py": b"evil"}, {"release.yaml": b"other"}])
def test_a_planted_folder_that_flower_would_run_instead_is_refused(
    tmp_path: Path, planted: dict[str, bytes]
) -> None:
    unpacked(tmp_path, bundle_files() | planted)
    assert not is_installed_release(bundle_bytes(), DIGEST, DIGEST, tmp_path)


def test_a_release_of_flower_without_the_expected_name_is_refused() -> None:
    with pytest.raises(FlowerChanged, match=r"Flower has no flwr\.x\._verify_fab any more"):
        replace_name(ModuleType("flwr.x"), "_verify_fab", lambda original: original)


@pytest.mark.parametrize(
    ("kind", "accepted"),
    [(TaskType.CLIENT_APP, True), (TaskType.SERVER_APP, False), (TaskType.AGENT_APP, False)],
)
def test_a_hospital_starts_training_and_no_other_kind_of_task(
    monkeypatch: pytest.MonkeyPatch, kind: TaskType, *, accepted: bool
) -> None:
    monkeypatch.setattr(SubprocessExecutor, "launch", SubprocessExecutor.launch)
    nursery = io.StringIO()
    use_nursery(nursery)
    spec = ExecutionSpec(
        task_type=kind,
        runtime_api_address="127.0.0.1:1",
        token="secret",  # noqa: S106  of nothing
        insecure=False,
        root_certificates_path="ca.crt",
        runtime_dependency_install=False,
        parent_pid=None,
        suppress_output=False,
        task_id=1,
    )
    status = SubprocessExecutor().launch(spec).status
    assert (status is LaunchResultStatus.ACCEPTED) == accepted
    assert bool(nursery.getvalue()) == accepted


@pytest.fixture
def status(tmp_path: Path) -> Path:
    return tmp_path / STATUS_NAME


def heartbeat(
    monkeypatch: pytest.MonkeyPatch, status: Path, answer: Callable[[], bool]
) -> Callable[[], None]:
    """One heartbeat of Flower's sender, with the launcher's patience."""
    monkeypatch.setattr(HeartbeatSender, "_heartbeat", HeartbeatSender._heartbeat)  # noqa: SLF001
    keep_heart_beating(status)
    sender = HeartbeatSender(answer)
    return sender._heartbeat  # noqa: SLF001


def test_a_confirmed_heartbeat_is_noted(monkeypatch: pytest.MonkeyPatch, status: Path) -> None:
    heartbeat(monkeypatch, status, lambda: True)()
    assert read_status(status) is NodeStatus.REGISTERED


@pytest.mark.parametrize("error", [None, RuntimeError("500")])
def test_a_failed_heartbeat_is_tried_again_and_not_noted(
    monkeypatch: pytest.MonkeyPatch, status: Path, error: Exception | None
) -> None:
    def answer() -> bool:
        if error:
            raise error
        return False

    with pytest.raises(HeartbeatFailure):
        heartbeat(monkeypatch, status, answer)()
    assert not status.exists()


class Coordinator:
    """Answers activations from a script: a status code, a transport error, or consent (200)."""

    def __init__(self, *script: int | httpx.TransportError) -> None:
        self.script = list(script)
        self.withdrawn: list[int] = []

    def activate(self, _: object, __: ActivateNodeRequest) -> ActivateNodeResponse:
        """The next answer of the script."""
        step = self.script.pop(0)
        request = httpx.Request("POST", "https://coordinator")
        if isinstance(step, httpx.TransportError):
            raise step
        httpx.Response(step, request=request).raise_for_status()
        return ActivateNodeResponse(node_id=17)

    def DeactivateNode(self, request: DeactivateNodeRequest) -> None:  # noqa: N802  Flower's name
        """Note who was signed off."""
        self.withdrawn.append(request.node_id)


def activate(
    monkeypatch: pytest.MonkeyPatch, coordinator: Coordinator, folder: Path
) -> list[tuple[NodeStatus, float]]:
    """Activate through the launcher's patience; returns the status and the pause of every wait."""
    waits: list[tuple[NodeStatus, float]] = []
    status = folder / STATUS_NAME
    monkeypatch.setattr(FleetHttpClient, "ActivateNode", coordinator.activate)
    monkeypatch.setattr(
        "client.node_launcher.time.sleep", lambda pause: waits.append((read_status(status), pause))
    )
    wait_for_admission(status, folder / "node.id")
    client = cast("FleetHttpClient", coordinator)
    assert FleetHttpClient.ActivateNode(client, ActivateNodeRequest()).node_id == 17
    assert read_status(status) is NodeStatus.REGISTERED
    return waits


def test_a_node_waits_for_the_coordinator_and_then_for_its_consent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    coordinator = Coordinator(httpx.ConnectError("refused"), 503, 412, 412, 412, 412, 401, 200)
    assert activate(monkeypatch, coordinator, tmp_path) == [
        (NodeStatus.UNREACHABLE, 1.0),
        (NodeStatus.UNREACHABLE, 2.0),
        (NodeStatus.UNADMITTED, 4.0),
        (NodeStatus.UNADMITTED, 8.0),
        (NodeStatus.UNADMITTED, 8.0),
        (NodeStatus.UNADMITTED, 8.0),
        (NodeStatus.CLOCK, 8.0),
    ]


def test_a_predecessor_that_died_is_signed_off_instead_of_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "node.id").write_text("16")
    coordinator = Coordinator(httpx.ConnectError("refused"), 412, 200)
    waits = activate(monkeypatch, coordinator, tmp_path)
    assert waits == [(NodeStatus.UNREACHABLE, 1.0)]
    assert coordinator.withdrawn == [16]
    assert (tmp_path / "node.id").read_text() == "17"


def test_a_stranger_at_the_coordinators_address_ends_the_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def leave(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr("client.node_launcher.os._exit", leave)
    stranger = httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed")
    with pytest.raises(SystemExit) as end:
        activate(monkeypatch, Coordinator(stranger), tmp_path)
    assert end.value.code == 76
    assert read_status(tmp_path / STATUS_NAME) is NodeStatus.UNTRUSTED


@pytest.mark.parametrize(
    ("status", "age_seconds", "expected"),
    [
        (NodeStatus.REGISTERED, 90, NodeState.REGISTERED),
        (NodeStatus.REGISTERED, 100, NodeState.WAITING),
        (NodeStatus.UNADMITTED, 0, NodeState.WAITING),
    ],
)
def test_a_node_is_registered_as_long_as_its_heartbeat_is_fresh(
    tmp_path: Path, status: NodeStatus, age_seconds: float, expected: NodeState
) -> None:
    write_status(tmp_path / STATUS_NAME, status)
    then = time.time() - age_seconds
    os.utime(tmp_path / STATUS_NAME, (then, then))
    with hold_lock(tmp_path / LOCK_NAME):
        assert node_state(tmp_path) is expected
    assert node_state(tmp_path) is NodeState.STOPPED


def site_in(folder: Path) -> SiteConfig:
    return SiteConfig(
        site_name="north",
        coordinator="127.0.0.1:1",
        ca_path=folder / "ca.crt",
        data_path=folder / "data",
        state_path=folder / "state",
        image_size=32,
        public_key_path=folder / "roster" / "north.pub",
    )


def test_without_the_coordinators_certificate_the_hospital_waits_and_hands_over_its_key(
    tmp_path: Path,
) -> None:
    told: list[str] = []
    stop = threading.Event()

    def on_state(state: str) -> None:
        told.append(state)
        stop.set()

    serve(site_in(tmp_path), tmp_path / "site.yaml", stop=stop, on_state=on_state)
    assert told == ["waiting for the coordinator's certificate", "stopped"]
    assert (tmp_path / "roster" / "north.pub").read_text().endswith(" north\n")
    assert not (tmp_path / "state" / "logs").exists()


def test_a_second_node_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    with (
        hold_lock(tmp_path / "state" / LOCK_NAME),
        pytest.raises(AlreadyRunning, match="stop that one first"),
    ):
        serve(
            site_in(tmp_path),
            tmp_path / "site.yaml",
            stop=threading.Event(),
            on_state=lambda _: None,
        )


@pytest.mark.slow
def test_the_launcher_removes_unpacked_bundles_and_refuses_to_run_without_a_digest(
    tmp_path: Path,
) -> None:
    unpacked(tmp_path, {"client/app.py": b"evil"})
    options = ["--status", str(tmp_path / "status"), "--node-id", str(tmp_path / "id")]
    options += ["--state", str(tmp_path / "state")]
    for digest in ([], ["--bundle-digest", DIGEST]):
        answer = subprocess.run(
            [sys.executable, "-m", "client.node_launcher", *digest, *options, "--nonsense"],
            env={**os.environ, "FLWR_HOME": str(tmp_path), "FLWR_TELEMETRY_ENABLED": "0"},
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert answer.returncode == 2
        assert (tmp_path / "apps").exists() == (not digest)
