"""A model's lineage in words, for whoever checks it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from federation.lineage import SignedLineage


class AuthorityUnusable(ValueError):
    """A file that holds no public key of an authority."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} holds no public key: name the authority.pub that came with the study, or that the coordinator's "
            "operator gave you"
        )


def read_authority(path: Path) -> bytes:
    """An authority's public key, as PEM.

    Raises:
        AuthorityUnusable: there is none in the file.
    """
    try:
        content = path.read_bytes()
        load_pem_public_key(content)
    except (OSError, ValueError, UnsupportedAlgorithm) as err:
        raise AuthorityUnusable(path) from err
    return content


def lineage_facts(signed: SignedLineage) -> Mapping[str, object]:
    """Everything, for a program."""
    return {**asdict(signed.lineage), "authority": signed.fingerprint, "sound": True}


def lineage_text(signed: SignedLineage, *, compared: bool) -> str:
    """What a person wants to know.

    Args:
        signed: a lineage that was checked.
        compared: whether the authority is the one that the person named.
    """
    lineage = signed.lineage
    shares = Counter(site for each in lineage.rounds for site in each.sites)
    who = "the authority you named" if compared else f"authority {signed.fingerprint}"
    lines = [
        f"signed by {who} on {datetime.fromtimestamp(lineage.seconds, UTC):%Y-%m-%d}: every file and weight is as signed",
        f"study: {lineage.study_name} ({lineage.study_digest})",
        f"plan: {lineage.plan_digest or 'none'}",
        f"weights: {lineage.weights_digest} ({lineage.kind}, {len(lineage.rounds)} rounds)",
        f"grown from: {lineage.parent_digest or 'unknown'}",
        *(f"  {site}: in {count} rounds" for site, count in sorted(shares.items())),
    ]
    if not compared:
        lines.append(
            "compare the authority with the one of your study, or give its key with --authority"
        )
    return "\n".join(lines)
