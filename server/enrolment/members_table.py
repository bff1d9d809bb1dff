"""The roster as a person reads it: who is a member, for how long its certificate lasts, when it called last."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from server.enrolment.invitations import invitations
from server.enrolment.members import read_seen
from server.enrolment.register import certificate_of, revoked
from server.roster_keys import RosterListing, read_roster

SECONDS = {"d": 86400, "h": 3600, "min": 60, "s": 1}


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One hospital."""

    site: str
    state: str
    """``member``, ``invited``, ``revoked`` or ``unusable key``."""
    certificate_days: int | None
    """Days for which its certificate lasts, negative if it is over; None: it has none."""
    last_seen: int | None
    """Seconds since 1970; None: never."""

    def line(self, now: float) -> str:
        """For a person."""
        if self.state != "member":
            return f"{self.site}: {self.state}"
        certificate = (
            "no certificate"
            if self.certificate_days is None
            else f"certificate lasts {self.certificate_days} days"
            if self.certificate_days >= 0
            else "certificate has expired"
        )
        seen = "never seen" if self.last_seen is None else f"seen {_ago(now - self.last_seen)} ago"
        return f"{self.site}: member, {certificate}, {seen}"


def members_table(state: Path, roster: Path) -> list[Row]:
    """Every hospital the coordinator knows of, in alphabetical order.

    Raises:
        ConfigError: if a file of the register is damaged.
    """
    listing, seen = read_roster(roster), read_seen(state)
    members = listing.keys.keys() | listing.unsettled
    rows = [_member(state, listing, site, seen.get(site)) for site in members]
    now = datetime.now(UTC)
    invited = {i.site for i in invitations(state) if not i.used_by and i.expires > now} - members
    gone = {taken.site for taken in revoked(state).keys} - members - invited
    rows += [_absent(site, "invited") for site in invited]
    rows += [_absent(site, "revoked") for site in gone]
    return sorted(rows, key=lambda row: row.site)


def _member(state: Path, listing: RosterListing, site: str, last_seen: int | None) -> Row:
    certificate = certificate_of(state, site)
    days = (certificate.not_valid_after_utc - datetime.now(UTC)).days if certificate else None
    return Row(
        site=site,
        state="unusable key" if site in listing.unsettled else "member",
        certificate_days=days,
        last_seen=last_seen,
    )


def _absent(site: str, state: str) -> Row:
    return Row(site=site, state=state, certificate_days=None, last_seen=None)


def _ago(seconds: float) -> str:
    for unit, size in SECONDS.items():
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return "0 s"


def table_text(rows: list[Row]) -> str:
    """One line a hospital."""
    if not rows:
        return "nobody is in the roster: `fedcxr coordinator invite NAME` invites a hospital"
    return "\n".join(row.line(time.time()) for row in rows)
