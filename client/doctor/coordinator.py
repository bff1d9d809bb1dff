"""The coordinator itself, as seen from the hospital: its clock, its health, its protocol, and whether it knows us."""

from client.doctor.hospital import Hospital
from client.doctor.network import CANNOT_BE_SEEN
from client.doctor.speed import megabits
from client.node_status import SENTENCES, NodeStatus, read_status
from client.supernode import STATUS_NAME, NodeState, node_state
from federation.diagnosis import Finding, Job, fail, ok, skipped, warn
from federation.protocol import SPOKEN

MAX_SKEW_SECONDS = 240.0
"""Flower refuses calls whose time is 300 s off."""
NOTICED_SKEW_SECONDS = 20.0


def clock(hospital: Hospital) -> Finding:
    """Do both machines agree on the time?"""
    ahead = hospital.visit().seconds_ahead
    if ahead is None:
        return skipped(CANNOT_BE_SEEN)
    shown = f"this machine's clock is {_shown(abs(ahead))} {'behind' if ahead > 0 else 'ahead of'} the coordinator's"
    do = "type: timedatectl set-ntp true; then compare both with UTC: date -u"
    if abs(ahead) > MAX_SKEW_SECONDS:
        return fail(
            f"{shown}; at five minutes the coordinator refuses what it signs", Job.MACHINE, do
        )
    if abs(ahead) > NOTICED_SKEW_SECONDS:
        return warn(shown, Job.MACHINE, do)
    return ok("both clocks agree within a few seconds")


def health(hospital: Hospital) -> Finding:
    """Is the coordinator behind its port well?"""
    visit = hospital.visit()
    if visit.status is None or not visit.is_trusted:
        return skipped(CANNOT_BE_SEEN)
    if visit.status == 429:
        return warn(
            "the coordinator's port asks for fewer calls", Job.DATA_MANAGER, "try again in a minute"
        )
    if visit.status != 200:
        return fail(
            f"the coordinator's port is open, and what is behind it is not well ({visit.status})",
            Job.COORDINATOR,
            "type: fedcxr coordinator doctor",
        )
    return ok("the coordinator is well")


def protocol(hospital: Hospital) -> Finding:
    """Do both sides speak the same protocol?"""
    told = hospital.visit().protocol
    if not told:
        return skipped("the coordinator does not tell its protocol")
    if told != str(SPOKEN):
        return fail(
            f"the coordinator speaks protocol {told[:5]}, this release {SPOKEN}",
            Job.DATA_MANAGER,
            "install the coordinator's release, or ask its operator to install this one",
        )
    return ok(f"both sides speak protocol {SPOKEN}")


def bandwidth(hospital: Hospital) -> Finding:
    """How fast is the line, there and back?"""
    speed = hospital.speed()
    if isinstance(speed, str):
        return skipped(speed)
    return ok(f"the line was measured: {megabits(speed.down)} in, {megabits(speed.up)} out")


def node(hospital: Hospital) -> Finding:
    """Is the hospital's own node connected?"""
    state = node_state(hospital.site.state_path)
    if state is NodeState.REGISTERED:
        return ok("the node is registered and takes part")
    if state is NodeState.STOPPED:
        return warn(
            "the node is not running: this hospital takes part in nothing",
            Job.DATA_MANAGER,
            f"type: fedcxr hospital up {hospital.site_path}",
        )
    status = read_status(hospital.site.state_path / STATUS_NAME)
    if status is NodeStatus.STARTING:
        return warn("the node is starting", Job.DATA_MANAGER, "look again in a minute")
    job = Job.COORDINATOR if status is NodeStatus.UNADMITTED else Job.DATA_MANAGER
    return fail(
        f"the node is {SENTENCES[status]}", job, "see the other checks; the node tries again"
    )


def _shown(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.0f} hours"
