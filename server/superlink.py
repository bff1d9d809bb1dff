"""The coordinator's processes: Flower's SuperLink on loopback, its SuperExec, and the gateway in front.

Only the gateway can be reached from outside. The supervisor keeps all three alive and the roster in force.
"""

import contextlib
import logging
import os
import secrets
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import httpx

from federation.bundle import bundle_bytes, bundle_digest
from federation.certificates import Certificate, issue_certificate, make_authority
from federation.files import hold_lock, make_private_folder, write_file
from federation.processes import Program, Supervisor, flower_environment, free_port
from server.endpoint import (
    LOCK_NAME,
    Endpoint,
    read_endpoint,
    remove_endpoint,
    write_endpoint,
)

logger = logging.getLogger(__name__)

STATE_VARIABLE = "FEDCXR_COORDINATOR_STATE"
"""Tells the ServerApp's process where the coordinator keeps its state."""
LOOPBACK_NAMES = ("localhost", "127.0.0.1")
START_SECONDS = 120.0
TEND_SECONDS = 0.25
ROSTER_SECONDS = 2.0


class PortInUse(RuntimeError):
    """The public port belongs to another program."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(
            f"port {port} on {host} is in use by another program: stop that one, or choose another port "
            "and tell the hospitals."
        )


class CoordinatorDidNotStart(RuntimeError):
    """Flower's processes did not come up."""

    def __init__(self, logs_path: Path) -> None:
        super().__init__(
            f"the coordinator did not come up within {START_SECONDS:.0f} seconds: read {logs_path}/superlink.log"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class CoordinatorSettings:
    """How one coordinator is run."""

    state_path: Path
    """Folder for everything it keeps."""
    host: str = "127.0.0.1"
    """Address the public port listens on."""
    port: int = 0
    """Public port; 0 chooses one at the first start and keeps it."""
    names: tuple[str, ...] = LOOPBACK_NAMES
    """DNS names and IP addresses by which hospitals reach it; they go into its certificate."""
    roster_path: Path | None = None
    """Folder with the hospitals' public keys; ``roster`` in the state folder if not given."""
    share_path: Path | None = None
    """Folder to put a copy of the authority's certificate into, for hospitals to read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plan:
    """Everything decided before the first process starts."""

    state: Path
    host: str
    port: int
    control_port: int
    tls: Certificate
    secret_path: Path
    roster: Path


def serve(
    settings: CoordinatorSettings,
    *,
    ready: Callable[[Endpoint], None],
    stop: threading.Event,
) -> None:
    """Run the coordinator until ``stop`` is set; call ``ready`` once hospitals can connect.

    Raises:
        AlreadyRunning: if another process serves from the same state folder.
        PortInUse: if the public port is taken; nothing was started.
        CoordinatorDidNotStart: if Flower's processes fail to come up.
    """
    state = make_private_folder(settings.state_path.resolve())
    with hold_lock(state / LOCK_NAME):
        plan = _prepare(settings, state)
        with Supervisor() as supervisor, _announcement(state):
            supervisor.start("superlink", _superlink(plan))
            supervisor.start("gateway", _gateway(plan))
            import_module("server.roster")  # takes a second, like the others' start
            if not _await_health(plan, supervisor, stop):
                return
            supervisor.start("superexec", _superexec(plan))
            _keep_running(plan, supervisor, ready, stop)


def submit_run(state_path: Path, run_config: Mapping[str, str]) -> str:
    """Start a run of the installed release; returns Flower's id of it.

    Raises:
        CoordinatorNotRunning: if nobody serves from this folder.
        ControlRefused: if the SuperLink does not take it.
    """
    from server.control import open_control  # noqa: PLC0415  Flower takes a second to import

    endpoint = read_endpoint(state_path)
    with open_control(endpoint.control_port, endpoint.ca_path) as control:
        return control.start_run(bundle_bytes(), bundle_digest(), run_config)


def registered_sites(state_path: Path) -> tuple[str, ...]:
    """Names of all hospitals of the roster, connected or not, in alphabetical order.

    Raises:
        CoordinatorNotRunning: if nobody serves from this folder.
        ControlRefused: if the SuperLink does not answer.
    """
    from server.control import UNREGISTERED, open_control  # noqa: PLC0415  Flower takes a second

    endpoint = read_endpoint(state_path)
    with open_control(endpoint.control_port, endpoint.ca_path) as control:
        return tuple(sorted(n.name for n in control.nodes() if n.status != UNREGISTERED))


def run_status(state_path: Path, run_id: str) -> str:
    """Flower's word for how a run stands, such as ``running`` or ``finished:failed``.

    Raises:
        CoordinatorNotRunning: if nobody serves from this folder.
        ControlRefused: if the SuperLink does not know the run.
    """
    from server.control import open_control  # noqa: PLC0415  Flower takes a second to import

    endpoint = read_endpoint(state_path)
    with open_control(endpoint.control_port, endpoint.ca_path) as control:
        return control.run_status(run_id)


def stop_run(state_path: Path, run_id: str) -> None:
    """End a run at the coordinator; hospitals finish the step they are in.

    Raises:
        CoordinatorNotRunning: if nobody serves from this folder.
        ControlRefused: if the run is unknown or over.
    """
    from server.control import open_control  # noqa: PLC0415  Flower takes a second to import

    endpoint = read_endpoint(state_path)
    with open_control(endpoint.control_port, endpoint.ca_path) as control:
        control.stop_run(run_id)


def _prepare(settings: CoordinatorSettings, state: Path) -> _Plan:
    port = _public_port(settings, state)
    authority = make_authority(state / "tls")
    names = (*settings.names, *LOOPBACK_NAMES)
    tls = issue_certificate(state / "tls", authority, names)
    if settings.share_path:
        write_file(settings.share_path / "ca.crt", tls.ca_path.read_bytes(), mode=0o644)
    secret_path = state / "superexec.secret"
    write_file(secret_path, secrets.token_hex(32).encode())
    return _Plan(
        state=state,
        host=settings.host,
        port=port,
        control_port=free_port(),
        tls=tls,
        secret_path=secret_path,
        roster=make_private_folder((settings.roster_path or state / "roster").resolve()),
    )


def _public_port(settings: CoordinatorSettings, state: Path) -> int:
    """The port hospitals know: as configured, or the one chosen at the first start."""
    memory = state / "port"
    port = settings.port
    if port == 0 and memory.exists():
        port = int(memory.read_text())
    with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, port))
        except OSError as err:
            raise PortInUse(settings.host, port) from err
        port = int(probe.getsockname()[1])
    write_file(memory, str(port).encode())
    return port


def _superlink(plan: _Plan) -> Program:
    arguments = (
        *("flower-superlink", "--host", "127.0.0.1", "--port", str(plan.control_port)),
        *("--ssl-ca-certfile", str(plan.tls.ca_path)),
        *("--ssl-certfile", str(plan.tls.cert_path), "--ssl-keyfile", str(plan.tls.key_path)),
        *("--enable-supernode-auth", "--disable-runtime-dependency-installation"),
        *("--isolation", "process", "--superexec-auth-secret-file", str(plan.secret_path)),
        *("--database", str(plan.state / "superlink.db")),
    )
    return _program(plan, "superlink", arguments)


def _superexec(plan: _Plan) -> Program:
    arguments = (
        *("flower-superexec", "--runtime-api-address", f"127.0.0.1:{plan.control_port}"),
        *("--root-certificates", str(plan.tls.ca_path)),
        *("--superexec-auth-secret-file", str(plan.secret_path)),
        *("--parent-pid", str(os.getpid())),
    )
    return _program(plan, "superexec", arguments)


def _gateway(plan: _Plan) -> Program:
    arguments = (
        *(sys.executable, "-m", "server.gateway"),
        *("--host", plan.host, "--port", str(plan.port)),
        *("--upstream-port", str(plan.control_port), "--ca", str(plan.tls.ca_path)),
        *("--cert", str(plan.tls.cert_path), "--key", str(plan.tls.key_path)),
    )
    return _program(plan, "gateway", arguments)


def _program(plan: _Plan, name: str, arguments: tuple[str, ...]) -> Program:
    home = plan.state / "flower"
    return Program(
        arguments=arguments,
        environment=flower_environment(home) | {STATE_VARIABLE: str(plan.state)},
        folder=home,
        log_path=plan.state / "logs" / f"{name}.log",
    )


def _await_health(plan: _Plan, supervisor: Supervisor, stop: threading.Event) -> bool:
    """Wait until the gateway reaches the SuperLink; False if told to stop before."""
    host = "127.0.0.1" if plan.host in {"0.0.0.0", "::"} else plan.host  # noqa: S104  compared, not bound
    url = f"https://{f'[{host}]' if ':' in host else host}:{plan.port}/healthz"
    trusted = ssl.create_default_context(cafile=plan.tls.ca_path)
    trusted.check_hostname = False
    deadline = time.monotonic() + START_SECONDS
    with httpx.Client(verify=trusted, timeout=2.0, trust_env=False) as client:
        while not stop.wait(0.1):
            with contextlib.suppress(httpx.HTTPError):
                if client.get(url).is_success:
                    return True
            supervisor.tend()
            if time.monotonic() > deadline:
                raise CoordinatorDidNotStart(plan.state / "logs")
    return False


def _keep_running(
    plan: _Plan,
    supervisor: Supervisor,
    ready: Callable[[Endpoint], None],
    stop: threading.Event,
) -> None:
    from server.control import ControlRefused, open_control  # noqa: PLC0415  Flower takes a second to import
    from server.roster import Roster  # noqa: PLC0415  Flower takes a second to import

    roster = Roster(folder=plan.roster)
    next_sync = 0.0
    with open_control(plan.control_port, plan.tls.ca_path) as control:
        ready(
            write_endpoint(
                plan.state,
                host=plan.host,
                port=plan.port,
                control_port=plan.control_port,
                ca_path=plan.tls.ca_path,
            )
        )
        while not stop.is_set():
            supervisor.tend()
            if time.monotonic() >= next_sync:
                with contextlib.suppress(ControlRefused):  # restarting; the next look does it
                    roster.sync(control)
                next_sync = time.monotonic() + ROSTER_SECONDS
            stop.wait(TEND_SECONDS)


@contextlib.contextmanager
def _announcement(state: Path) -> Iterator[None]:
    """No endpoint file before or after the processes it speaks of."""
    remove_endpoint(state)
    try:
        yield
    finally:
        remove_endpoint(state)
