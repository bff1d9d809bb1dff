"""For how long certificates hold, as a finding."""

from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from federation.certificates import RENEW_BEFORE
from federation.diagnosis import Finding, Job, fail, ok, warn


def of_days(
    what: str,
    certificate: x509.Certificate,
    job: Job,
    next_step: str,
    *,
    now: datetime | None = None,
) -> Finding:
    """Days left of a certificate; a month before the end is the time to see to it."""
    now = now or datetime.now(UTC)
    days = (certificate.not_valid_after_utc - now).days
    if certificate.not_valid_before_utc > now:
        return fail(f"{what} is not valid yet, says this machine's clock", job, next_step)
    if certificate.not_valid_after_utc <= now:
        return fail(f"{what} has expired", job, next_step)
    if days < RENEW_BEFORE.days:
        return warn(f"{what} holds for {days} more days", job, next_step)
    return ok(f"{what} holds for {days} more days")


def authorities_in(path: Path) -> list[x509.Certificate]:
    """The certificates in a file; none if it is no such file."""
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError):
        return []
