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
    COORDINATOR_EXPIRED = "coordinator-expired"
    COORDINATOR_NOT_YET_VALID = "coordinator-not-yet-valid"
    COORDINATOR_WRONG_NAME = "coordinator-wrong-name"
    UNADMITTED = "unadmitted"
    CLOCK = "clock"
    SIGNATURE = "signature"
    UNKNOWN = "unknown"
    EXPIRED = "expired"
    NOT_YET_VALID = "not-yet-valid"
    WRONG_AUTHORITY = "wrong-authority"
    WRONG_NAME = "wrong-name"
    REVOKED = "revoked"
    OTHER_SITE = "other-site"
    REGISTERED = "registered"


SENTENCES = {
    NodeStatus.STARTING: "starting",
    NodeStatus.UNREACHABLE: "waiting: the coordinator cannot be reached; trying again",
    NodeStatus.UNTRUSTED: (
        "waiting: what answers at the coordinator's address does not hold a certificate of ca_path: if a proxy here opens "
        "encrypted connections, its administrators have to exempt this address; else ask the coordinator for its current "
        "certificate"
    ),
    NodeStatus.COORDINATOR_EXPIRED: (
        "waiting: the coordinator's certificate has expired: the coordinator has to type `fedcxr coordinator doctor`, for "
        "`up` renews it by itself; if this machine's clock is wrong, set it"
    ),
    NodeStatus.COORDINATOR_NOT_YET_VALID: (
        "waiting: the coordinator's certificate is not valid yet by this machine's clock: compare it with UTC and set it; "
        "if it is right, the coordinator's is wrong"
    ),
    NodeStatus.COORDINATOR_WRONG_NAME: (
        "waiting: the coordinator's certificate is for another name than `coordinator` in this hospital's profile: correct "
        "that, or ask the coordinator to add the name (`fedcxr coordinator up --name`)"
    ),
    NodeStatus.UNADMITTED: "waiting to be admitted by the coordinator",
    NodeStatus.CLOCK: (
        "waiting: the coordinator does not accept this hospital's signature; compare this machine's clock with UTC"
    ),
    NodeStatus.SIGNATURE: (
        "waiting: the coordinator does not accept this hospital's signature, though the clocks agree: ask it whether its "
        "roster still holds the key of this state folder"
    ),
    NodeStatus.UNKNOWN: (
        "waiting: the coordinator knows no certificate for this hospital's key: ask it for an invitation, then type "
        "`fedcxr hospital join CODE` in this folder"
    ),
    NodeStatus.EXPIRED: (
        "waiting: this hospital's certificate has expired: ask the coordinator for an invitation, then type "
        "`fedcxr hospital join CODE` in this folder"
    ),
    NodeStatus.NOT_YET_VALID: (
        "waiting: this hospital's certificate is not valid yet by the coordinator's clock: the coordinator has to compare "
        "its clock with UTC and set it"
    ),
    NodeStatus.WRONG_AUTHORITY: (
        "waiting: this hospital's certificate is another authority's than the coordinator's: ask the coordinator for an "
        "invitation, then type `fedcxr hospital join CODE` in this folder"
    ),
    NodeStatus.WRONG_NAME: (
        "waiting: the coordinator's roster has this hospital's key under another name than the certificate: ask the "
        "coordinator for an invitation (`fedcxr coordinator invite NAME --replace`) and join with it"
    ),
    NodeStatus.REVOKED: (
        "waiting: the coordinator has shut this hospital out (revoked): ask it why. To take part again, get an invitation, "
        "remove node.key from the state folder, type `fedcxr hospital join CODE` in this folder, and start it again"
    ),
    NodeStatus.OTHER_SITE: (
        "waiting: the certificate in the state folder is not for the key beside it: restore node.crt and node.key from one "
        "backup, or ask the coordinator for an invitation and join with it"
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
