"""Where a running coordinator can be reached: one small file that exists as long as it runs."""

import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from federation.files import is_locked, write_file

ENDPOINT_NAME = "endpoint.json"
LOCK_NAME = "coordinator.lock"
ROSTER = "roster"


class CoordinatorNotRunning(RuntimeError):
    """Nobody serves from this state folder."""

    def __init__(self, state_path: Path) -> None:
        super().__init__(
            f"no coordinator runs in {state_path}: start it with `fedcxr coordinator up`, or name the state "
            "folder of the one that runs."
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """A running coordinator."""

    host: str
    """Address the gateway listens on."""
    port: int
    """Public port; hospitals connect to it."""
    control_port: int
    """The SuperLink's own port, on loopback."""
    roster_path: Path
    """Folder of the hospitals' public keys."""
    ca_path: Path
    """Authority that signed the certificates of both ports."""
    pid: int
    """Process id of the supervisor."""
    started: str
    """Time of readiness, ISO 8601, UTC."""


def write_endpoint(
    state_path: Path,
    *,
    host: str,
    port: int,
    control_port: int,
    ca_path: Path,
    roster_path: Path | None = None,
) -> Endpoint:
    """Announce the running coordinator; without a folder of its own the roster is ``STATE/roster``."""
    endpoint = Endpoint(
        host=host,
        port=port,
        control_port=control_port,
        roster_path=roster_path or state_path / ROSTER,
        ca_path=ca_path,
        pid=os.getpid(),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    content = json.dumps(asdict(endpoint), indent=2, default=str) + "\n"
    write_file(state_path / ENDPOINT_NAME, content.encode())
    return endpoint


def remove_endpoint(state_path: Path) -> None:
    """Take the announcement back."""
    (state_path / ENDPOINT_NAME).unlink(missing_ok=True)


def read_endpoint(state_path: Path) -> Endpoint:
    """The coordinator that runs in this folder.

    Raises:
        CoordinatorNotRunning: if there is none, or it died without taking its announcement back.
    """
    if not is_locked(state_path / LOCK_NAME):
        raise CoordinatorNotRunning(state_path)
    try:
        found = json.loads((state_path / ENDPOINT_NAME).read_text())
    except FileNotFoundError as err:
        raise CoordinatorNotRunning(state_path) from err
    roster = found.get("roster_path", state_path / ROSTER)  # earlier releases did not say it
    return Endpoint(**found | {"ca_path": Path(found["ca_path"]), "roster_path": Path(roster)})
