"""What a hospital's node last learned about its place in the federation: one word in one file."""

import time
from enum import StrEnum
from pathlib import Path

from federation.files import write_file

FRESH_SECONDS = 95.0
"""A node that is well writes at least every 30 s; three misses in a row make it doubtful."""


class NodeStatus(StrEnum):
    """The last answer of the coordinator."""

    STARTING = "starting"
    UNREACHABLE = "unreachable"
    UNTRUSTED = "untrusted"
    UNADMITTED = "unadmitted"
    CLOCK = "clock"
    REGISTERED = "registered"


SENTENCES = {
    NodeStatus.STARTING: "starting",
    NodeStatus.UNREACHABLE: "waiting: the coordinator cannot be reached; trying again",
    NodeStatus.UNTRUSTED: (
        "waiting: what answers at the coordinator's address does not hold a certificate of ca_path; "
        "ask the coordinator for its current certificate"
    ),
    NodeStatus.UNADMITTED: "waiting to be admitted by the coordinator",
    NodeStatus.CLOCK: (
        "waiting: the coordinator does not accept this hospital's signature; compare this machine's clock with UTC"
    ),
    NodeStatus.REGISTERED: "registered",
}


def write_status(path: Path, status: NodeStatus) -> None:
    """Note the status as of now."""
    write_file(path, f"{status}\n".encode())


def read_status(path: Path) -> NodeStatus:
    """The last status; a registration that was not confirmed for long counts as unreachable."""
    try:
        status = NodeStatus(path.read_text().strip())
        age = time.time() - path.stat().st_mtime
    except (OSError, ValueError):
        return NodeStatus.STARTING
    if status is NodeStatus.REGISTERED and age > FRESH_SECONDS:
        return NodeStatus.UNREACHABLE
    return status
