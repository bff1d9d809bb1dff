"""The commands that show a hospital's evidence: the log, the receipts of what left, and whether all of it is sound."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from client.arguments import Json, Site
from federation.exit_codes import ExitCode
from federation.terminal import emit

if TYPE_CHECKING:
    from client.config import SiteConfig
    from client.evidence.check import Findings
    from client.evidence.log import Entry
    from client.evidence.receipts import Kept


def show_log(site: Site, as_json: Json = False) -> None:
    """Show everything that happened here: who did what, when, and under which plan; oldest first."""
    from dataclasses import asdict

    from client.config import load_site
    from client.evidence.log import entries

    profile = load_site(site)
    found = entries(profile.state_path)
    text = "\n".join(map(_entry_line, found)) or f"{profile.site_name}: nothing happened yet"
    facts = {"site": profile.site_name, "entries": [asdict(entry) for entry in found]}
    emit(facts, text, as_json=as_json)


def show_receipts(site: Site, as_json: Json = False) -> None:
    """Show what left this hospital, round by round: tensors, bytes, norm, epsilon and SHA-256."""
    from client.config import load_site
    from client.evidence.receipts import kept_receipts, receipt_facts

    profile = load_site(site)
    kept = [each for each in kept_receipts(profile.state_path) if not each.is_draft]
    facts = {
        "site": profile.site_name,
        "receipts": [
            {**receipt_facts(each.receipt), "receipt": each.digest, "file": str(each.path)}
            for each in kept
        ],
    }
    text = "\n".join(map(_receipt_line, kept)) or f"{profile.site_name}: nothing has left"
    emit(facts, text, as_json=as_json)


def verify_evidence(
    site: Site,
    head: Annotated[
        str,
        typer.Option(
            help="The log's head as it was written down, or as the coordinator's operator reads it out (16 digits are "
            "enough); it must have had it."
        ),
    ] = "",
    as_json: Json = False,
) -> None:
    """Check the log, every receipt and every signature; exit code 1 means that something is not sound."""
    from dataclasses import asdict

    from client.config import load_site

    profile = load_site(site)
    found = _checked(profile, head)
    facts = {
        "site": profile.site_name,
        "sound": not found.problems,
        "problems": list(found.problems),
        "entries": found.num_entries,
        "receipts": found.num_receipts,
        "head": found.head,
        "witnessed": None if found.witnessed is None else asdict(found.witnessed),
        "accepted_losses": [asdict(loss) for loss in found.accepted],
    }
    but = " but for what is told below" if found.accepted else ""
    sound = (
        f"{profile.site_name}: the log is whole{but}; entries: {found.num_entries}, signed receipts: {found.num_receipts}\n"
        f"head: {found.head}\n{_witnessed_line(found, profile.site_name)}"
    )
    lines = [*(found.problems or [sound]), *(loss.sentence for loss in found.accepted)]
    emit(facts, "\n".join(lines), as_json=as_json)
    if found.problems:
        raise typer.Exit(ExitCode.NOT_READY)


def accept_loss(
    site: Site,
    name: Annotated[
        str, typer.Option(help="Of the data-protection officer, who answers for it in the log.")
    ],
    reason: Annotated[str, typer.Option(help="Why, in one line; nothing of a patient.")],
    as_json: Json = False,
) -> None:
    """Answer with a name for what the log lacks now of all that the coordinator witnessed; `verify` tells it for ever."""
    from dataclasses import asdict

    from client.config import load_site
    from client.evidence.losses import NoLoss, accept_losses
    from client.evidence.witness import authority_key

    profile = load_site(site)
    authority = authority_key(profile)
    if authority is None:
        raise NoLoss
    losses = accept_losses(profile.state_path, authority=authority, name=name, reason=reason)
    facts = {"site": profile.site_name, "accepted": [asdict(loss) for loss in losses]}
    text = "\n".join(f"{profile.site_name}: {loss.sentence}" for loss in losses)
    emit(facts, text, as_json=as_json)


def _checked(profile: "SiteConfig", head: str) -> "Findings":
    from client.evidence.check import check, readable_ledger
    from client.evidence.witness import authority_key
    from client.privacy_policy import load_policy

    path = profile.privacy_path
    ledger = None if path is None else readable_ledger(load_policy(path).ledger_path)
    return check(profile.state_path, ledger=ledger, head=head, authority=authority_key(profile))


def _witnessed_line(found: "Findings", site_name: str) -> str:
    """What the coordinator saw, for who wants to compare it by telephone."""
    seen = found.witnessed
    if seen is None:
        return "the coordinator's word on it has not come back yet"
    return (
        f"the coordinator witnessed entry {seen.count} on {_moment(seen.seconds)}, head {seen.digest}: its operator reads "
        f"out the newest that was witnessed with `fedcxr coordinator witness {site_name}`"
    )


def _entry_line(entry: "Entry") -> str:
    said = ", ".join(f"{name} {_shown(value)}" for name, value in entry.facts.items())
    plan = f" [plan {entry.plan[:16]}]" if entry.plan else ""
    return f"{entry.number:5} {_moment(entry.seconds)}  {entry.event:14} {entry.actor}: {said or '-'}{plan}"


def _receipt_line(kept: "Kept") -> str:
    receipt = kept.receipt
    norm = "-" if receipt.norm is None else f"{receipt.norm:.4g}"
    epsilon = "-" if receipt.epsilon is None else f"{receipt.epsilon:.2f}"
    return (
        f"{_moment(receipt.seconds)}  {receipt.study_name} round {receipt.round_number}: {len(receipt.tensors)} tensors, "
        f"{receipt.num_bytes} bytes, norm {norm}, epsilon {epsilon}, SHA-256 {receipt.parcel_digest}"
    )


def _shown(value: object) -> str:
    """A digest by its beginning."""
    is_digest = isinstance(value, str) and len(value) == 64
    return str(value)[:16] if is_digest else str(value)


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
