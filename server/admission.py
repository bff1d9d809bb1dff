"""The gate before the arithmetic: an update is admitted whole or refused with a reason, and changes nothing.

First what an update says of itself is checked as it arrives, then its norm against the cohort's once the round is closed,
and last every value of its shards, which also have to bear out what it said.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from federation.encoding import Encoding
from federation.messages import Refusal, RefusalCode, Update
from federation.update_signature import is_signed
from privacy.ledger.chain import Head

NORM_TOLERANCE = 1e-6
"""Relative: a hospital adds up its squares in another order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Expectation:
    """What every update of one round has to look like."""

    study_digest: str
    round_number: int
    received_digest: str
    num_steps: int
    shapes: Mapping[str, tuple[int, ...]]
    """Name and shape of each tensor that trains in this round."""
    needs_counts: bool
    """Whether the number of records decides the update's weight."""
    encoding: Encoding = "fp32"
    """Of the change's values."""
    shard_values: int
    """Values of a shard, at most."""
    is_private: bool = False
    """Whether the round promises privacy, so that a loss may stay at the hospital and a ledger's head must come."""


def inspect(update: Update, expected: Expectation) -> Refusal | None:
    """The reason to refuse this update for what it says of itself, or None."""
    return (
        _check_origin(update, expected)
        or _check_tensors(update, expected)
        or _check_numbers(update, expected)
    )


def inspect_values(name: str, values: NDArray[np.float32]) -> Refusal | None:
    """The reason to refuse an update for some values of a tensor, or None."""
    if np.isfinite(values).all():
        return None
    return Refusal(code=RefusalCode.NOT_FINITE, reason=f"tensor {name} holds NaN or infinity")


def inspect_true_norm(claimed: float, square: float, *, is_all: bool) -> Refusal | None:
    """The reason to refuse an update whose values do not have the norm it said, or None.

    Args:
        claimed: As the update says.
        square: Sum of the squares of all values that were looked at.
        is_all: Whether that is every value; some of them may not have a larger norm than all.
    """
    norm = math.sqrt(square)
    if math.isclose(claimed, norm, rel_tol=NORM_TOLERANCE, abs_tol=1e-30):
        return None
    if not is_all and norm < claimed:
        return None
    more = "" if is_all else " or more"
    reason = f"its change has norm {norm:.6g}{more}, and it says {claimed:.6g}"
    return Refusal(code=RefusalCode.NORM, reason=reason)


def inspect_ledger(ledger: Head | None, witnessed: Head | None) -> Refusal | None:
    """The reason to refuse a private update for the ledger behind it, or None.

    Args:
        ledger: Where the hospital's ledger was when it trained.
        witnessed: Where it was when the coordinator last heard of it.
    """
    if ledger is None:
        return Refusal(code=RefusalCode.LEDGER, reason="it does not say where its ledger stands")
    if witnessed is None or ledger.count > witnessed.count or ledger == witnessed:
        return None
    reason = (
        f"its privacy ledger has {ledger.count} records and another history than the {witnessed.count} that were "
        f"countersigned: its data protection officer has to restore the ledger"
    )
    return Refusal(code=RefusalCode.LEDGER, reason=reason)


def inspect_signature(update: Update, key: bytes | None, *, plan_digest: str) -> Refusal | None:
    """The reason to refuse an update that its hospital did not sign, or None.

    Args:
        update: As it came.
        key: The public key (PEM) that the roster has for the hospital; None where there is no roster.
        plan_digest: Of the plan that was sent with the instruction; empty for none.
    """
    if key is None or is_signed(update, key, plan_digest=plan_digest):
        return None
    reason = (
        "it is not signed, as it is, with the key that the roster has for this hospital: its data manager and the "
        "operator compare the key's fingerprint"
    )
    return Refusal(code=RefusalCode.SIGNATURE, reason=reason)


def inspect_norms(
    norms: Mapping[str, float], *, earlier: Sequence[float], max_ratio: float
) -> dict[str, Refusal]:
    """Refusals for sites whose change is far larger than the median.

    Args:
        norms: Site name to the norm of its change in this round.
        earlier: Norms of changes admitted earlier in the stage; they stand in for a majority where this
            round has fewer than three changes.
        max_ratio: Largest accepted multiple of the median.
    """
    cohort = list(norms.values()) if len(norms) >= 3 else [*earlier]
    if len(cohort) < 3:
        return {}
    limit = max_ratio * median(cohort)
    return {
        site: Refusal(
            code=RefusalCode.NORM,
            reason=f"its change has norm {norm:.3g}, more than {max_ratio:g} times the median",
        )
        for site, norm in sorted(norms.items())
        if norm > limit
    }


def _check_origin(update: Update, expected: Expectation) -> Refusal | None:
    if update.study_digest != expected.study_digest:
        return Refusal(code=RefusalCode.STUDY, reason="it belongs to another study")
    if update.round_number != expected.round_number:
        reason = f"it answers round {update.round_number}, this is round {expected.round_number}"
        return Refusal(code=RefusalCode.STALE, reason=reason)
    if update.received_digest != expected.received_digest:
        return Refusal(
            code=RefusalCode.STALE, reason="it was trained from other weights than were sent"
        )
    return None


def _check_tensors(update: Update, expected: Expectation) -> Refusal | None:
    shapes, parcel = expected.shapes, update.change
    missing = sorted(shapes.keys() - parcel.shapes.keys())
    unknown = sorted(parcel.shapes.keys() - shapes.keys())
    if missing:
        return Refusal(code=RefusalCode.TENSORS, reason=f"tensor {missing[0]} is missing")
    if unknown:
        return Refusal(
            code=RefusalCode.TENSORS, reason=f"tensor {unknown[0][:80]!r} is not part of this round"
        )
    for name, shape in sorted(shapes.items()):
        if parcel.shapes[name] != shape:
            reason = f"tensor {name} is {parcel.shapes[name]}, expected {shape}"
            return Refusal(code=RefusalCode.TENSORS, reason=reason)
    if (parcel.encoding, parcel.shard_values) != (expected.encoding, expected.shard_values):
        reason = (
            f"its change comes as {parcel.encoding} in shards of {parcel.shard_values} values, expected "
            f"{expected.encoding} in shards of {expected.shard_values}"
        )
        return Refusal(code=RefusalCode.TENSORS, reason=reason)
    return None


def _check_numbers(update: Update, expected: Expectation) -> Refusal | None:
    if not (math.isfinite(update.norm) and update.norm >= 0):
        return Refusal(code=RefusalCode.NOT_FINITE, reason="its change holds NaN or infinity")
    if not (math.isfinite(update.loss) or (expected.is_private and math.isnan(update.loss))):
        return Refusal(code=RefusalCode.NOT_FINITE, reason="its training loss is not finite")
    if update.num_steps != expected.num_steps:
        reason = f"it made {update.num_steps} local steps, {expected.num_steps} were asked for"
        return Refusal(code=RefusalCode.STEPS, reason=reason)
    if expected.needs_counts and update.num_records < 1:
        reason = "the study weighs hospitals by records, and it does not say how many it has"
        return Refusal(code=RefusalCode.COUNTS, reason=reason)
    return None
