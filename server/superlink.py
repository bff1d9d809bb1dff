"""The coordinator: its programs kept alive, its roster kept in force, its studies kept going.

Only the gateway can be reached from outside. This process imports nothing of Flower, so it stays small.
"""

import contextlib
import http.client
import logging
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from federation.bundle import bundle_bytes, bundle_digest
from federation.certificates import AUTHORITY_LIFE, issue_certificate, make_authority
from federation.files import hold_lock, make_private_folder, write_file
from federation.processes import Supervisor, flower_environment, free_port
from server.conductor import Conductor
from server.endpoint import (
    LOCK_NAME,
    Endpoint,
    read_endpoint,
    remove_endpoint,
    write_endpoint,
)
from server.enrolment.authority import study_authority
from server.enrolment.renewing import OwnCertificates
from server.environment import (
    BUCKET_VARIABLE,
    ROSTER_VARIABLE,
    SCRATCH_VARIABLE,
    STATE_VARIABLE,
)
from server.errand import Errands
from server.gateway.limits import load_limits
from server.programs import Plan, forget_bundles, gateway, superexec, superlink
from server.roster_folder import RosterFolder
from server.state_folder import open_state_folder

logger = logging.getLogger(__name__)

LOOPBACK_NAMES = ("localhost", "127.0.0.1")
START_SECONDS = 120.0
TEND_SECONDS = 0.25
PROBE_SECONDS = 2.0


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
            f"the coordinator did not come up within {START_SECONDS:.0f} seconds: read superlink.log and gateway.log in "
            f"{logs_path}"
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
    max_scratch_bytes: int | None = None
    """Bytes of changes that may wait on the disk at a time; None: as many as fit."""
    bucket: str | None = None
    """Address of the bucket through which tensors travel; None: through the public port."""


def serve(
    settings: CoordinatorSettings,
    *,
    ready: Callable[[Endpoint], None],
    stop: threading.Event,
) -> None:
    """Run the coordinator until ``stop`` is set; call ``ready`` once hospitals can connect.

    Raises:
        StateFolderUnusable: if the state folder is read-only, full, or someone else's; nothing was started.
        AlreadyRunning: if another process serves from the same state folder.
        PortInUse: if the public port is taken; nothing was started.
        CoordinatorDidNotStart: if Flower's processes fail to come up.
        ConfigError: if the file with the port's limits cannot be used; nothing was started.
    """
    state = open_state_folder(settings.state_path.resolve())
    with hold_lock(state / LOCK_NAME):
        plan = _prepare(settings, state)
        forget_bundles(state)
        with Supervisor() as supervisor, _announcement(state):
            supervisor.start("superlink", superlink(plan))
            supervisor.start("gateway", gateway(plan))
            if not _await_health(plan, supervisor, stop):
                return
            supervisor.start("superexec", superexec(plan))
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


def _prepare(settings: CoordinatorSettings, state: Path) -> Plan:
    load_limits(state)  # says now what is wrong with them
    port = _public_port(settings, state)
    authority = make_authority(state / "tls")
    names = (*settings.names, *LOOPBACK_NAMES)
    tls = issue_certificate(state / "tls", authority, names)
    loopback = issue_certificate(
        state / "tls" / "loopback", authority, LOOPBACK_NAMES, life=AUTHORITY_LIFE
    )
    if settings.share_path:
        write_file(settings.share_path / "ca.crt", tls.ca_path.read_bytes(), mode=0o644)
        signing = study_authority(state).public
        write_file(settings.share_path / "authority.pub", signing, mode=0o644)
    secret_path = state / "superexec.secret"
    write_file(secret_path, secrets.token_hex(32).encode())
    return Plan(
        state=state,
        host=settings.host,
        port=port,
        control_port=free_port(),
        tls=tls,
        loopback=loopback,
        names=names,
        secret_path=secret_path,
        roster=make_private_folder((settings.roster_path or state / "roster").resolve()),
        environment=_told(settings, state),
    )


def _told(settings: CoordinatorSettings, state: Path) -> Mapping[str, str]:
    told = {STATE_VARIABLE: str(state)}
    if settings.roster_path is not None:
        told[ROSTER_VARIABLE] = str(settings.roster_path.resolve())
    if settings.max_scratch_bytes is not None:
        told[SCRATCH_VARIABLE] = str(settings.max_scratch_bytes)
    if settings.bucket is not None:
        from server.blobs.bucket import BucketStore  # noqa: PLC0415  an optional dependency

        BucketStore(settings.bucket, state / "blobs")  # says now what is wrong with it
        told[BUCKET_VARIABLE] = settings.bucket
    return told


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


def _await_health(plan: Plan, supervisor: Supervisor, stop: threading.Event) -> bool:
    """Wait until the gateway reaches the SuperLink; False if told to stop before."""
    trusted = ssl.create_default_context(cafile=plan.tls.ca_path)
    trusted.check_hostname = False
    deadline = time.monotonic() + START_SECONDS
    while not stop.wait(0.1):
        if _is_healthy(plan, trusted):
            return True
        supervisor.tend()
        if time.monotonic() > deadline:
            raise CoordinatorDidNotStart(plan.state / "logs")
    return False


def _is_healthy(plan: Plan, trusted: ssl.SSLContext) -> bool:
    host = "127.0.0.1" if plan.host in {"0.0.0.0", "::"} else plan.host  # noqa: S104  compared, not bound
    line = http.client.HTTPSConnection(host, plan.port, timeout=PROBE_SECONDS, context=trusted)
    try:
        line.request("GET", "/healthz")
        return line.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        line.close()


def _keep_running(
    plan: Plan,
    supervisor: Supervisor,
    ready: Callable[[Endpoint], None],
    stop: threading.Event,
) -> None:
    errands = Errands(
        control_port=plan.control_port,
        ca_path=plan.tls.ca_path,
        environment=flower_environment(plan.state / "flower") | dict(plan.environment),
    )
    roster = RosterFolder(folder=plan.roster, errands=errands)
    conductor = Conductor(state=plan.state, errands=errands)
    certificates = OwnCertificates(state=plan.state, names=plan.names)
    with contextlib.closing(errands):
        ready(
            write_endpoint(
                plan.state,
                host=plan.host,
                port=plan.port,
                control_port=plan.control_port,
                ca_path=plan.tls.ca_path,
                roster_path=plan.roster,
            )
        )
        while not stop.is_set():
            supervisor.tend()
            errands.tend()
            roster.tend()
            conductor.tend()
            certificates.tend()
            stop.wait(TEND_SECONDS)


@contextlib.contextmanager
def _announcement(state: Path) -> Iterator[None]:
    """No endpoint file before or after the processes it speaks of."""
    remove_endpoint(state)
    try:
        yield
    finally:
        remove_endpoint(state)
