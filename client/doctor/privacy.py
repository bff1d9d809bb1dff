"""The hospital's own bounds: its privacy policy, and the ledger of what its patients have spent."""

from client.cache.layout import CacheMissing, CacheUnusable, cache_path, current_version
from client.doctor.hospital import Hospital
from client.privacy_policy import PrivacyPolicy, load_policy, why_delta_refused, why_refused
from federation.diagnosis import Finding, Job, fail, ok, skipped, warn
from federation.strict_yaml import ConfigError
from privacy.ledger.verification import problems_of, read_statement


def policy(hospital: Hospital) -> Finding:
    """Is there a policy, and does it let the study happen?"""
    path = hospital.site.privacy_path
    if path is None:
        return fail(
            "the profile names no policy: without one, this hospital takes part in nothing",
            Job.OFFICER,
            "write one after configs/privacy.example.yaml; the data manager sets privacy_path to it",
        )
    try:
        read = load_policy(path)
    except ConfigError as err:
        return fail(str(err), Job.OFFICER, f"mend {path}")
    reason = _delta_reason(hospital, read) or _study_reason(hospital, read)
    if reason is not None:
        return warn(
            f"with this policy the hospital refuses the study: {reason}",
            Job.OFFICER,
            f"decide whether the study or {path} is to change",
        )
    known = ", and it lets the study happen" if hospital.study else ""
    return ok(f"the policy can be read{known}")


def ledger(hospital: Hospital) -> Finding:
    """Is the ledger whole, and is anything left of its budget?"""
    path = hospital.site.privacy_path
    if path is None:
        return skipped("there is no ledger without a policy")
    try:
        read = load_policy(path)
    except ConfigError:
        return skipped("the policy cannot be read")
    problems = problems_of(read.ledger_path, data_set=read.data_set, delta=read.delta)
    if problems:
        return fail(
            problems[0], Job.OFFICER, f"type: fedcxr hospital ledger {hospital.site_path} --verify"
        )
    book = read_statement(read.ledger_path).book
    if book is None:
        return ok("the ledger is whole; nothing was ever charged")
    cap = min(book.cap, read.max_epsilon)
    shown = f"epsilon {book.spent:.2f} of {cap:.2f} is spent"
    if book.spent >= cap:
        return warn(
            f"{shown}: no private round can be charged any more",
            Job.OFFICER,
            f"see what it was spent on: fedcxr hospital ledger {hospital.site_path}",
        )
    return ok(f"the ledger is whole; {shown}")


def _study_reason(hospital: Hospital, read: PrivacyPolicy) -> str | None:
    stages = hospital.study.stages if hospital.study else ()
    reasons = (why_refused(read, stage, stage.local.privacy) for stage in stages)
    return next((reason for reason in reasons if reason), None)


def _delta_reason(hospital: Hospital, read: PrivacyPolicy) -> str | None:
    try:
        tally = current_version(cache_path(hospital.site)).manifest.tally
    except (CacheMissing, CacheUnusable):
        return None
    return why_delta_refused(read, tally.num_patients)
