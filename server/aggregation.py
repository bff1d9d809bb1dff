"""How admitted changes become one mean change.

Every sum runs in float64 and in the order of the hospitals' names, so that the same set of changes gives the
same bits whatever the order of arrival. One change is in memory at a time.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median

import numpy as np
from numpy.typing import NDArray

from model.arrays import Arrays

MAX_WEIGHT_RATIO = 10.0

Load = Callable[[str], Arrays]
"""Site name -> that site's change."""


class QuorumNotMet(RuntimeError):
    """Too few hospitals were admitted for the round to count."""

    def __init__(self, *, round_number: int, admitted: int, required: int) -> None:
        super().__init__(
            f"round {round_number} has {admitted} admitted updates of at least {required}, so it does not count. "
            f"Every finished round is kept: look at `fedcxr coordinator status` for each hospital's reason, then "
            f"type `fedcxr coordinator run` again"
        )


def site_shares(records: Mapping[str, int], *, weighting: str) -> dict[str, float]:
    """Each site's share of the mean, in site order; the shares sum to 1.

    Args:
        records: Site name to number of usable records, as the site says; more than ten times the median
            counts as that.
        weighting: ``uniform`` or ``records``.
    """
    limit = MAX_WEIGHT_RATIO * median(records.values())
    weights = {
        site: 1.0 if weighting == "uniform" else min(float(records[site]), limit)
        for site in sorted(records)
    }
    total = sum(weights.values())
    return {site: weight / total for site, weight in weights.items()}


def mean_change(shares: Mapping[str, float], load: Load) -> dict[str, NDArray[np.float64]]:
    """Weighted mean of the sites' changes, in float64."""
    total: dict[str, NDArray[np.float64]] = {}
    for site in sorted(shares):
        for name, tensor in load(site).items():
            part = shares[site] * tensor.astype(np.float64)
            total[name] = total[name] + part if name in total else part
    return total


def mean_product(
    adapter: Arrays, shares: Mapping[str, float], load: Load
) -> dict[str, NDArray[np.float32]]:
    """Best adapter of the same rank for the mean of the sites' products B A, factors balanced.

    The mean product has rank up to sites * rank; by Eckart and Young its truncated singular value decomposition
    is the nearest product of the adapter's rank. It is taken on the stacked thin factors (QR, then an SVD of
    side sites * rank), so that no full matrix is ever formed. Each factor gets the square root of the
    singular values, which keeps both at the same scale for the next round. A single site's factors are their
    own best product and pass unchanged.
    """
    changes = {site: load(site) for site in sorted(shares)}
    if len(changes) == 1:
        return add(adapter, mean_change(shares, load))
    pairs = [
        (name, name.replace(".lora_A.", ".lora_B."))
        for name in sorted(adapter)
        if ".lora_A." in name
    ]
    result: dict[str, NDArray[np.float32]] = {}
    for name_a, name_b in pairs:
        down = [_moved(adapter[name_a], changes[site][name_a]) for site in changes]
        up = [shares[site] * _moved(adapter[name_b], changes[site][name_b]) for site in changes]
        if any(part.any() for part in up):
            result[name_a], result[name_b] = _truncate(up, down, rank=adapter[name_a].shape[0])
        else:  # the factors of 0 would be 0 twice, from where nothing can be learned
            result[name_a], result[name_b] = adapter[name_a], np.zeros_like(adapter[name_b])
    return result


def add(
    weights: Arrays, change: Mapping[str, NDArray[np.float64]]
) -> dict[str, NDArray[np.float32]]:
    """Weights plus a change in float64, rounded once to float32; tensors without a change stay as they are."""
    with np.errstate(over="ignore"):  # the round loop refuses weights that are not finite
        return {
            name: _moved(tensor, change[name]).astype(np.float32)
            if name in change
            else np.asarray(tensor)
            for name, tensor in weights.items()
        }


def l2_norm(tensors: Iterable[NDArray[np.float32]]) -> float:
    """Euclidean norm over all tensors, in float64."""
    return float(
        np.sqrt(sum(float(np.square(tensor, dtype=np.float64).sum()) for tensor in tensors))
    )


def _moved(tensor: NDArray[np.float32], change: NDArray[np.floating]) -> NDArray[np.float64]:
    return tensor.astype(np.float64) + change.astype(np.float64)


def _truncate(
    up: Sequence[NDArray[np.float64]], down: Sequence[NDArray[np.float64]], *, rank: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    left, left_rest = np.linalg.qr(np.concatenate(up, axis=1))
    right, right_rest = np.linalg.qr(np.concatenate(down, axis=0).T)
    u, singular, vt = np.linalg.svd(left_rest @ right_rest.T)
    root = np.sqrt(singular[:rank])
    factor_a = root[:, None] * (vt[:rank] @ right.T)
    factor_b = (left @ u[:, :rank]) * root
    return factor_a.astype(np.float32), factor_b.astype(np.float32)
