"""The coordinator's programs: Flower's SuperLink and SuperExec on loopback, and the gateway in front."""

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from federation.certificates import Certificate
from federation.processes import Program, flower_environment

KEEPING_FREED_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(2**22),
    "MALLOC_TRIM_THRESHOLD_": str(2**24),
}
"""Has the C library reuse what the last piece of a shard took, in bytes or in float64: clearing it anew costs ten times its arithmetic."""
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}
"""Layers are shared among processors, not matrices: threads that wait for each other on a busy machine burn three times the time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Everything decided before the first process starts."""

    state: Path
    host: str
    port: int
    control_port: int
    tls: Certificate
    """The public port's."""
    loopback: Certificate
    """The SuperLink's, which nobody but this machine sees; as long in force as the authority."""
    names: tuple[str, ...]
    """By which hospitals reach the public port."""
    secret_path: Path
    roster: Path
    environment: Mapping[str, str]
    """What every program is told beside Flower's own settings."""


def forget_bundles(state: Path) -> None:
    """Have Flower unpack its bundle anew: it does not sync what it unpacks, and runs a copy that a crash tore."""
    shutil.rmtree(state / "flower" / "apps", ignore_errors=True)


def superlink(plan: Plan) -> Program:
    """Flower's hub: hospitals' messages, runs, their tasks."""
    arguments = (
        *("flower-superlink", "--host", "127.0.0.1", "--port", str(plan.control_port)),
        *("--ssl-ca-certfile", str(plan.tls.ca_path)),
        *("--ssl-certfile", str(plan.loopback.cert_path)),
        *("--ssl-keyfile", str(plan.loopback.key_path)),
        *("--enable-supernode-auth", "--disable-runtime-dependency-installation"),
        *("--isolation", "process", "--superexec-auth-secret-file", str(plan.secret_path)),
        *("--database", str(plan.state / "superlink.db")),
    )
    return _program(plan, "superlink", arguments)


def superexec(plan: Plan) -> Program:
    """Starts one process per run."""
    arguments = (
        *("flower-superexec", "--runtime-api-address", f"127.0.0.1:{plan.control_port}"),
        *("--root-certificates", str(plan.tls.ca_path)),
        *("--superexec-auth-secret-file", str(plan.secret_path)),
        *("--parent-pid", str(os.getpid())),
    )
    program = _program(plan, "superexec", arguments)
    return replace(program, environment={**program.environment, **ONE_THREAD})


def gateway(plan: Plan) -> Program:
    """The only door for hospitals."""
    arguments = (
        *(sys.executable, "-m", "server.gateway"),
        *("--host", plan.host, "--port", str(plan.port)),
        *("--upstream-port", str(plan.control_port), "--ca", str(plan.tls.ca_path)),
        *("--cert", str(plan.tls.cert_path), "--key", str(plan.tls.key_path)),
        *("--state", str(plan.state), "--roster", str(plan.roster)),
    )
    program = _program(plan, "gateway", arguments)
    return replace(program, environment={**program.environment, **KEEPING_FREED_MEMORY})


def _program(plan: Plan, name: str, arguments: tuple[str, ...]) -> Program:
    home = plan.state / "flower"
    return Program(
        arguments=arguments,
        environment=flower_environment(home) | dict(plan.environment),
        folder=home,
        log_path=plan.state / "logs" / f"{name}.log",
    )
