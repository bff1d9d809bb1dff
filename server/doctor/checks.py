"""Everything that is asked of a coordinator, in the order in which it is told."""

from federation.diagnosis import Check
from server.doctor import keys, members, reach, standing
from server.doctor.coordinator import Coordinator

CHECKS: tuple[Check[Coordinator], ...] = (
    Check(name="state-folder", look=standing.state_folder),
    Check(name="secrets", look=keys.secrets),
    Check(name="disk", look=standing.disk),
    Check(name="open-files", look=standing.open_files),
    Check(name="databases", look=standing.databases, seconds=25.0),
    Check(name="authority", look=keys.authority),
    Check(name="certificate", look=keys.certificate),
    Check(name="signing-key", look=keys.signing_key),
    Check(name="name", look=reach.name),
    Check(name="running", look=reach.running),
    Check(name="port", look=reach.port),
    Check(name="health", look=reach.health),
    Check(name="loopback", look=reach.loopback),
    Check(name="roster", look=members.roster),
    Check(name="hospital-certificates", look=members.certificates),
    Check(name="hospitals-seen", look=members.seen),
    Check(name="studies", look=standing.studies),
    Check(name="weights", look=standing.weights),
    Check(name="plans", look=standing.plans),
)
