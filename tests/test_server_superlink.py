"""The coordinator's port and endpoint file tell the truth, before and after it runs."""

import json
import socket
import stat
import threading
from pathlib import Path

import pytest

from federation.files import hold_lock
from server.endpoint import (
    LOCK_NAME,
    CoordinatorNotRunning,
    read_endpoint,
    remove_endpoint,
    write_endpoint,
)
from server.superlink import CoordinatorSettings, PortInUse, serve


def announce(state: Path) -> None:
    write_endpoint(state, host="127.0.0.1", port=1, control_port=2, ca_path=state / "ca.crt")


def test_a_running_coordinator_is_found_as_it_announced_itself(tmp_path: Path) -> None:
    with hold_lock(tmp_path / LOCK_NAME):
        announce(tmp_path)
        endpoint = read_endpoint(tmp_path)
    assert (endpoint.port, endpoint.control_port) == (1, 2)
    assert endpoint.ca_path == tmp_path / "ca.crt"


def test_the_announcement_is_for_its_owner(tmp_path: Path) -> None:
    announce(tmp_path)
    assert stat.S_IMODE((tmp_path / "endpoint.json").stat().st_mode) == 0o600


def test_the_announcement_of_a_dead_coordinator_is_not_believed(tmp_path: Path) -> None:
    with hold_lock(tmp_path / LOCK_NAME):
        announce(tmp_path)
    with pytest.raises(CoordinatorNotRunning, match="start it with `fedcxr coordinator up`"):
        read_endpoint(tmp_path)


def test_a_coordinator_that_is_still_starting_is_not_running(tmp_path: Path) -> None:
    announce(tmp_path)
    remove_endpoint(tmp_path)
    with hold_lock(tmp_path / LOCK_NAME), pytest.raises(CoordinatorNotRunning):
        read_endpoint(tmp_path)


def test_a_port_that_was_chosen_once_stays_the_hospitals_port(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        (tmp_path / "port").write_text(str(port))
        with pytest.raises(PortInUse, match=f"port {port} on 127.0.0.1"):
            serve(settings(tmp_path), ready=lambda _: None, stop=threading.Event())
    assert not (tmp_path / "logs").exists()


def test_a_coordinator_told_to_stop_at_once_leaves_no_announcement(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    serve(settings(tmp_path), ready=lambda _: None, stop=stop)
    assert int((tmp_path / "port").read_text()) > 0
    assert not (tmp_path / "endpoint.json").exists()


def test_a_bundle_that_a_crash_tore_is_not_run_by_the_next_start(tmp_path: Path) -> None:
    torn = tmp_path / "flower" / "apps" / "fedcxr.fedcxr.0.1.0.79d38fb7" / "pyproject.toml"
    torn.parent.mkdir(parents=True)
    torn.touch()
    stop = threading.Event()
    stop.set()
    serve(settings(tmp_path), ready=lambda _: None, stop=stop)
    assert not torn.exists()


def test_what_hospitals_know_the_coordinator_by_is_shared_and_no_secret_is(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    shared = tmp_path / "share"
    serve(settings(tmp_path, share_path=shared), ready=lambda _: None, stop=stop)
    assert {path.name for path in shared.iterdir()} == {"ca.crt", "authority.pub"}
    assert (shared / "ca.crt").read_bytes() == (tmp_path / "tls" / "ca.crt").read_bytes()


def settings(state: Path, share_path: Path | None = None) -> CoordinatorSettings:
    return CoordinatorSettings(state_path=state, share_path=share_path)


def test_an_endpoint_file_holds_no_secret(tmp_path: Path) -> None:
    announce(tmp_path)
    content = json.loads((tmp_path / "endpoint.json").read_text())
    assert set(content) == {
        *("host", "port", "control_port", "roster_path", "ca_path", "pid", "started"),
    }
