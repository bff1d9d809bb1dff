"""The hospitals: who may take part, for how long, and who was not seen for long."""

import time
from datetime import UTC, datetime

from federation.certificates import RENEW_BEFORE
from federation.diagnosis import Finding, Job, fail, ok, skipped, warn
from server.doctor.coordinator import Coordinator
from server.enrolment.members import read_seen
from server.enrolment.register import certificate_of
from server.roster_keys import read_roster

LONG_SECONDS = 24 * 3600.0


def roster(coordinator: Coordinator) -> Finding:
    """Is everybody's key in the roster usable?"""
    if not coordinator.roster.is_dir():
        return warn(
            "the roster is empty: no hospital can take part",
            Job.COORDINATOR,
            'type: fedcxr coordinator invite "NAME OF THE HOSPITAL"',
        )
    listing = read_roster(coordinator.roster)
    if listing.problems:
        return fail(
            listing.problems[0], Job.COORDINATOR, "mend that file; all others count meanwhile"
        )
    if not listing.keys:
        return warn(
            "the roster is empty: no hospital can take part",
            Job.COORDINATOR,
            'type: fedcxr coordinator invite "NAME OF THE HOSPITAL"',
        )
    return ok(f"{len(listing.keys)} hospital(s) may take part")


def certificates(coordinator: Coordinator) -> Finding:
    """Do hospitals' certificates hold?"""
    if coordinator.opening is None or not coordinator.roster.is_dir():
        return skipped("no certificates are asked of hospitals before `coordinator init`")
    now, ending = datetime.now(UTC), list[str]()
    for site in sorted(read_roster(coordinator.roster).keys):
        shown = certificate_of(coordinator.state, site)
        if shown is None or shown.not_valid_after_utc - now < RENEW_BEFORE / 2:
            ending.append(site)
    if ending:
        return warn(
            f"{', '.join(ending)}: no certificate, or one that ends soon; hospitals renew theirs a month before",
            Job.COORDINATOR,
            "see fedcxr coordinator roster; ask those hospitals whether `hospital up` runs, or invite them anew",
        )
    return ok("every hospital's certificate holds")


def seen(coordinator: Coordinator) -> Finding:
    """Who has not called for a day?"""
    if not coordinator.roster.is_dir():
        return skipped("no hospital may take part yet")
    times, now = read_seen(coordinator.state), time.time()
    known = sorted(read_roster(coordinator.roster).keys)
    absent = [site for site in known if now - times.get(site, 0) > LONG_SECONDS]
    if absent:
        return warn(
            f"not seen for a day or longer: {', '.join(absent)}",
            Job.COORDINATOR,
            "ask there for the output of: fedcxr doctor",
        )
    return ok("every hospital was seen within a day")
