"""The coordinator's keys and certificates: there, whole, shut to others, and for how long in force."""

import stat
from pathlib import Path

from federation.certificate_days import authorities_in, of_days
from federation.certificates import is_to_be_followed, names_of
from federation.diagnosis import Finding, Job, Verdict, fail, ok, skipped, warn
from federation.signing import SigningKeyUnusable, load_private, public_pem
from server.doctor.coordinator import Coordinator
from server.enrolment.authority import FOLDER, KEY_NAME

SECRETS = (
    *("tls/ca.key", "tls/server.key", "tls/loopback/server.key"),
    *("superexec.secret", f"{FOLDER}/{KEY_NAME}"),
)


def authority(coordinator: Coordinator) -> Finding:
    """For how long does the authority of all certificates hold?"""
    found = authorities_in(coordinator.ca_path)
    if not found:
        return fail(
            "there is no authority yet, or it cannot be read",
            Job.COORDINATOR,
            f"type: fedcxr coordinator init --host NAME --state {coordinator.state}; or restore tls/ from a backup",
        )
    finding = of_days(
        "the authority of this coordinator",
        found[0],
        Job.COORDINATOR,
        "make a new one (`fedcxr coordinator next-authority`), and see docs/security.md for hospitals that missed it",
    )
    if finding.verdict is Verdict.OK and is_to_be_followed(found[0]):
        return warn(
            f"{finding.sentence}, and hospitals need the next one long before that",
            Job.COORDINATOR,
            "type: fedcxr coordinator up, which makes it; or fedcxr coordinator next-authority",
        )
    return finding


def certificate(coordinator: Coordinator) -> Finding:
    """For how long does the certificate of the public port hold, and is it for the name that hospitals know?"""
    found = authorities_in(coordinator.state / "tls" / "server.crt")
    if not found:
        return skipped("the public port has no certificate yet: `coordinator up` makes it")
    opening = coordinator.opening
    do = "type: fedcxr coordinator up, which renews it at its start and within a minute while it runs"
    if opening is not None and opening.host not in names_of(found[0]):
        return fail(
            f"the certificate of the public port is not for {opening.host}, which hospitals were told",
            Job.COORDINATOR,
            do,
        )
    return of_days("the certificate of the public port", found[0], Job.COORDINATOR, do)


def signing_key(coordinator: Coordinator) -> Finding:
    """Can plans and models be signed, with the key whose public half hospitals have?"""
    path = coordinator.state / FOLDER / KEY_NAME
    if not path.exists():
        return skipped("the signing key is made when the first plan is signed")
    try:
        key = load_private(path)
    except SigningKeyUnusable as err:
        return fail(str(err), Job.COORDINATOR, f"restore {path} from a backup")
    public_path = path.with_suffix(".pub")
    if not public_path.is_file() or public_path.read_bytes() != public_pem(key):
        return fail(
            f"{public_path} is not the public half of the signing key beside it",
            Job.COORDINATOR,
            "restore both from one backup; hospitals keep the half that they were given",
        )
    return ok("plans and models can be signed")


def secrets(coordinator: Coordinator) -> Finding:
    """Are keys for their owner alone?"""
    there = [coordinator.state / name for name in SECRETS]
    opened = [path for path in there if path.exists() and _is_open(path)]
    if opened:
        return fail(
            f"{opened[0]} can be read by other users of this machine",
            Job.MACHINE,
            f"type: chmod -R go= {coordinator.state}; and think about who may have read it",
        )
    return ok("no key can be read by other users of this machine")


def _is_open(path: Path) -> bool:
    return bool(stat.S_IMODE(path.stat().st_mode) & 0o077)
