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
from client.control.following import Following, following
from client.control.gate import STOPPED, Gate, gate_of
from client.control.running import LOCK_NAME, StopOrder, tell_running
from client.enrolment.renewal import renewing
from client.evidence.log import Event, account, note
from client.node_status import SENTENCES, NodeStatus, read_status, write_status
from client.transfer.proxy import proxy_environment
from federation.bundle import bundle_digest
from federation.certificates import (
    AUTHORITY_LIFE,
    Certificate,
    issue_certificate,
    make_authority,
)
from federation.files import hold_lock, is_locked, make_private_folder, write_file
from federation.node_keys import NodeKey, make_node_key, publish_public_key
from federation.processes import Program, Supervisor, flower_environment, free_port
from federation.systemd import ServiceManager, service_manager

STATUS_NAME = "node.status"
TEND_SECONDS = 0.25
ORDERED_STOP_SECONDS = 3.0
"""That processes get to sign off when the hospital's people stop it; nothing of an answer leaves meanwhile."""


class NodeState(StrEnum):
    """What a health check needs to know."""

    STOPPED = "stopped"
    WAITING = "waiting"
    PAUSED = "paused"
    """Nothing leaves for now: its people said so, or its quiet hours."""
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
        tell_running(state, ())
        plan = _prepare(site, site_path.resolve(), state)
        end = _End(signal=stop, order=StopOrder(state), manager=service_manager())
        if _await_leave(end, on_state) and _await_certificate(site.ca_path, end, on_state):
            note(state, Event.NODE_STARTED, actor=account())
            with (
                following(site, plan.site_path) as profile,
                renewing(site),
                Supervisor() as supervisor,
            ):
                supervisor.start("supernode", _supernode(plan))
                _keep_running(plan, supervisor, end, on_state, profile)
                if end.order.has_come():
                    supervisor.stop(patience_seconds=ORDERED_STOP_SECONDS)
            note(state, Event.NODE_STOPPED, actor=account())
    on_state("stopped")


def node_state(state_path: Path, gate: Gate | None = None) -> NodeState:
    """How the node of this state folder is, from what it left on the disk.

    Args:
        state_path: The hospital's state folder.
        gate: Whether it takes part now; without one only its connection is looked at.
    """
    if not is_locked(state_path / LOCK_NAME):
        return NodeState.STOPPED
    if gate is not None and gate.closed() is not None:
        return NodeState.PAUSED
    registered = read_status(state_path / STATUS_NAME) is NodeStatus.REGISTERED
    return NodeState.REGISTERED if registered else NodeState.WAITING


def what_it_waits_for(state_path: Path) -> str:
    """What keeps a waiting node from taking part, and whose job it is, in one sentence; empty if there is no more to say."""
    _, colon, sentence = SENTENCES[read_status(state_path / STATUS_NAME)].partition("waiting: ")
    return sentence if colon else ""


@dataclass(frozen=True, kw_only=True, slots=True)
class _End:
    """Whatever ends a hospital: a signal of the system, or an order of its people."""

    signal: threading.Event
    order: StopOrder
    manager: ServiceManager

    def has_come(self) -> bool:
        return self.signal.is_set() or self.order.has_come()

    def await_briefly(self) -> bool:
        """Whether it comes before the next look around."""
        self.manager.alive()
        return self.signal.wait(TEND_SECONDS) or self.order.has_come()


def _await_leave(end: _End, on_state: Callable[[str], None]) -> bool:
    """Wait until the people who stopped this hospital let it take part; False if told to end before."""
    if end.order.stands_from_before():
        on_state(STOPPED.sentence)
    while end.order.stands_from_before():
        if end.await_briefly():
            return False
    return not end.has_come()


def _prepare(site: SiteConfig, site_path: Path, state: Path) -> _Plan:
    key = make_node_key(state, site.site_name)
    if site.public_key_path:
        publish_public_key(key, site.public_key_path)
    authority = make_authority(state / "tls")
    names = ("localhost", "127.0.0.1")
    secret_path = state / "superexec.secret"
    write_file(secret_path, secrets.token_hex(32).encode())
    return _Plan(
        site=site,
        site_path=site_path,
        state=state,
        port=free_port(),
        key=key,
        tls=issue_certificate(state / "tls", authority, names, life=AUTHORITY_LIFE),
        secret_path=secret_path,
    )


def _await_certificate(ca_path: Path, end: _End, on_state: Callable[[str], None]) -> bool:
    """Wait for the file that makes the coordinator recognisable; False if told to stop before."""
    if not ca_path.exists():
        on_state("waiting for the coordinator's certificate")
    while not ca_path.exists():
        if end.await_briefly():
            return False
    return not end.has_come()


def _keep_running(
    plan: _Plan,
    supervisor: Supervisor,
    end: _End,
    on_state: Callable[[str], None],
    profile: Following,
) -> None:
    """Tend the processes; SuperExec starts once the node answers, that is, has a status of its own."""
    told, groups, gate = "", set[int](), gate_of(plan.site)
    while not end.await_briefly():
        supervisor.tend()
        profile.look()
        status = read_status(plan.state / STATUS_NAME)
        if status is not NodeStatus.STARTING and "superexec" not in supervisor.states():
            supervisor.start("superexec", _superexec(plan))
        closed = gate.closed() if status is NodeStatus.REGISTERED else None
        sentence = closed.sentence if closed else SENTENCES[status]
        if sentence != told:
            told = sentence
            on_state(sentence)
        if supervisor.groups() != groups:
            groups = supervisor.groups()
            tell_running(plan.state, groups)


def _supernode(plan: _Plan) -> Program:
    arguments = (
        *(sys.executable, "-m", "client.node_launcher"),
        *("--bundle-digest", bundle_digest()),
        *("--status", str(plan.state / STATUS_NAME), "--node-id", str(plan.state / "node.id")),
        *("--state", str(plan.state)),
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
        *("--state", str(plan.state)),
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
            "OMP_NUM_THREADS": str(plan.site.num_threads),
        },
    )


def _program(
    plan: _Plan, name: str, arguments: tuple[str, ...], variables: dict[str, str]
) -> Program:
    home = plan.state / "flower"
    return Program(
        arguments=arguments,
        environment=flower_environment(home) | proxy_environment(plan.site.proxy) | variables,
        folder=home,
        log_path=plan.state / "logs" / f"{name}.log",
    )
