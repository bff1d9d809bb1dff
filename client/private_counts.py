"""Noised counts in the data set's ledger: paid for before they are made, and once."""

from client.privacy_policy import PrivacyPolicy
from client.private_round import opened


def charge_counts(policy: PrivacyPolicy, digest: str, epsilon: float, *, is_made: bool) -> None:
    """Charge all tables that will ever be made under a digest, unless that was done.

    Args:
        policy: Names the ledger.
        digest: Of the cache and the limits that the tables are made for.
        epsilon: Of all tables together.
        is_made: Whether the tables are there; if they are not, but have left, they are not made again.

    Raises:
        NotTaken: the budget is spent, or the ledger cannot be trusted.
    """
    with opened(policy) as ledger:
        if not (is_made and ledger.state_of(_key(digest)) == "settled"):
            ledger.charge(_key(digest), epsilon)


def settle_counts(policy: PrivacyPolicy, digest: str) -> None:
    """Let the tables of a digest leave, as often as they are asked for.

    Raises:
        NotTaken: the ledger cannot be trusted.
    """
    with opened(policy) as ledger:
        ledger.settle(_key(digest), num_steps=0, released=digest)


def _key(digest: str) -> str:
    return f"counts {digest[:12]}"
