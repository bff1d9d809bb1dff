"""The hospital's processes: Flower's SuperNode, held to the installed release, and its SuperExec.

Both live in the hospital's state folder, with their own keys, certificates and logs, and call out only to
the coordinator's public port.
"""

import json
import os
import secrets
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from client.config import SiteConfig
from client.node_status import SENTENCES, NodeStatus, read_status, write_status
from federation.bundle import bundle_digest
from federation.certificates import Certificate, issue_certificate, make_authority
from federation.files import hold_lock, is_locked, make_private_folder, write_file
from federation.node_keys import NodeKey, make_node_key, publish_public_key
from federation.processes import Program, Supervisor, flower_environment, free_port

LOCK_NAME = "node.lock"
STATUS_NAME = "node.status"
TEND_SECONDS = 0.25
TASK_POLL_SECONDS = 0.25
"""Pause of SuperExec between two looks for a task."""


class NodeState(StrEnum):
    """What a health check needs to know."""

    STOPPED = "stopped"
    WAITING = "waiting"
    REGISTERED = "registered"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plan:
    """Everything decided before the first process starts."""

    site: SiteConfig
    site_path: Path
    state: Path
    port: int
    """Runtime API, on loopback."""
    key: NodeKey
    tls: Certificate
    secret_path: Path


def serve(
    site: SiteConfig,
    site_path: Path,
    *,
    stop: threading.Event,
    on_state: Callable[[str], None],
) -> None:
    """Take part in the federation until ``stop`` is set; tell ``on_state`` whenever the state changes.

    Raises:
        AlreadyRunning: if another process takes part from the same state folder.
        NodeKeyUnusable: if the hospital's key is damaged.
        AuthorityUnusable: if the certificates inside the state folder are.
    """
    state = make_private_folder(site.state_path.resolve())
    with hold_lock(state / LOCK_NAME):
        write_status(state / STATUS_NAME, NodeStatus.STARTING)
        plan = _prepare(site, site_path.resolve(), state)
        if _await_certificate(site.ca_path, stop, on_state):
            with Supervisor() as supervisor:
                supervisor.start("supernode", _supernode(plan))
                _keep_running(plan, supervisor, stop, on_state)
    on_state("stopped")


def node_state(state_path: Path) -> NodeState:
    """How the node of this state folder is, from what it left on the disk."""
    if not is_locked(state_path / LOCK_NAME):
        return NodeState.STOPPED
    registered = read_status(state_path / STATUS_NAME) is NodeStatus.REGISTERED
    return NodeState.REGISTERED if registered else NodeState.WAITING


def _prepare(site: SiteConfig, site_path: Path, state: Path) -> _Plan:
    key = make_node_key(state, site.site_name)
    if site.public_key_path:
        publish_public_key(key, site.public_key_path)
    authority = make_authority(state / "tls")
    secret_path = state / "superexec.secret"
    write_file(secret_path, secrets.token_hex(32).encode())
    return _Plan(
        site=site,
        site_path=site_path,
        state=state,
        port=free_port(),
        key=key,
        tls=issue_certificate(state / "tls", authority, ("localhost", "127.0.0.1")),
        secret_path=secret_path,
    )


def _await_certificate(
    ca_path: Path, stop: threading.Event, on_state: Callable[[str], None]
) -> bool:
    """Wait for the file that makes the coordinator recognisable; False if told to stop before."""
    if not ca_path.exists():
        on_state("waiting for the coordinator's certificate")
    while not ca_path.exists():
        if stop.wait(TEND_SECONDS):
            return False
    return not stop.is_set()


def _keep_running(
    plan: _Plan,
    supervisor: Supervisor,
    stop: threading.Event,
    on_state: Callable[[str], None],
) -> None:
    """Tend the processes; SuperExec starts once the node answers, that is, has a status of its own."""
    told: NodeStatus | None = None
    while not stop.is_set():
        supervisor.tend()
        status = read_status(plan.state / STATUS_NAME)
        if status is not told:
            on_state(SENTENCES[status])
            told = status
        if status is not NodeStatus.STARTING and "superexec" not in supervisor.states():
            supervisor.start("superexec", _superexec(plan))
        stop.wait(TEND_SECONDS)


def _supernode(plan: _Plan) -> Program:
    arguments = (
        *(sys.executable, "-m", "client.node_launcher"),
        *("--bundle-digest", bundle_digest()),
        *("--status", str(plan.state / STATUS_NAME), "--node-id", str(plan.state / "node.id")),
        *("--superlink", plan.site.coordinator, "--root-certificates", str(plan.site.ca_path)),
        *("--auth-supernode-private-key", str(plan.key.private_path)),
        *("--host", "127.0.0.1", "--port", str(plan.port), "--isolation", "process"),
        *("--ssl-ca-certfile", str(plan.tls.ca_path)),
        *("--ssl-certfile", str(plan.tls.cert_path), "--ssl-keyfile", str(plan.tls.key_path)),
        *("--superexec-auth-secret-file", str(plan.secret_path)),
        *("--node-config", f"site={json.dumps(str(plan.site_path), ensure_ascii=False)}"),
    )
    return _program(plan, "supernode", arguments, {})


def _superexec(plan: _Plan) -> Program:
    arguments = (
        *(sys.executable, "-m", "client.node_executor"),
        *("--runtime-api-address", f"127.0.0.1:{plan.port}"),
        *("--root-certificates", str(plan.tls.ca_path)),
        *("--superexec-auth-secret-file", str(plan.secret_path)),
        *("--parent-pid", str(os.getpid())),
    )
    return _program(
        plan,
        "superexec",
        arguments,
        {
            "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": str(TASK_POLL_SECONDS),
            "OMP_NUM_THREADS": str(plan.site.num_threads),
        },
    )


def _program(
    plan: _Plan, name: str, arguments: tuple[str, ...], variables: dict[str, str]
) -> Program:
    home = plan.state / "flower"
    return Program(
        arguments=arguments,
        environment=flower_environment(home) | variables,
        folder=home,
        log_path=plan.state / "logs" / f"{name}.log",
    )
