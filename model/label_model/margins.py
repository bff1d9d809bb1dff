"""What the margins of one attribute's law have to be, as far as hospitals counted them.

Within every hospital the attribute has that hospital's own shares; a hospital that did not count it is taken to be like
the others. With each parent it has the association that the hospitals' tables of two show within hospitals. What
differs between hospitals only is the hospital's effect and not the parent's.

Chance and noise make associations where there are none. Of what the tables deviate from independence, the part is
kept that they do not explain: 1 - m / the mean of the squared deviations over their variances, or nothing, where m is
the mean that they stay below in about 19 of 20 tables, 1 and two standard deviations. And no two values are taken to
go together so seldom that noise and rounding would hide it.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from model.label_model.crowd import Crowd
from model.label_model.matching import EVERYBODY, Margin
from model.label_model.tables import Association, SiteTables, association, shares


def own_margins(name: str, hospitals: Sequence[SiteTables], crowd: Crowd) -> list[Margin]:
    """An attribute's shares, over all hospitals and in each."""
    sizes = crowd.site_weights
    own = own_shares(name, hospitals, sizes) * sizes[:, None]
    everyone = np.ones(len(sizes), dtype=np.bool_)
    return [
        Margin(parent=EVERYBODY, target=own.sum(axis=0, keepdims=True), is_told=everyone),
        Margin(parent=crowd.site, target=own, is_told=everyone),
    ]


def own_shares(
    name: str, hospitals: Sequence[SiteTables], sizes: Float[np.ndarray, " site"]
) -> Float[np.ndarray, "site value"]:
    """Of each hospital's patients, the share with each value; a mean over the others where it was not counted."""
    is_told = np.array([name in each.counts for each in hospitals])
    told = np.stack([shares(each, name) for each in hospitals if name in each.counts])
    found = np.tile(np.average(told, axis=0, weights=sizes[is_told]), (len(hospitals), 1))
    found[is_told] = told
    return found


def parent_margin(
    parent: str, child: str, hospitals: Sequence[SiteTables], crowd: Crowd
) -> tuple[Margin, float] | None:
    """The joint shares of an arrow's ends, and what was kept of their association; None if nobody counted them."""
    arrow = (parent, child)
    is_told = np.array([arrow in each.pairs for each in hospitals])
    if not is_told.any():
        return None
    seen = [association(each, arrow) for each in hospitals if arrow in each.pairs]
    kept = unexplained(seen)
    sizes = crowd.site_weights
    joint = crowd.by_site(parent, len(seen[0].deviation))
    alone = joint[is_told].T @ own_shares(child, hospitals, sizes)[is_told]
    beyond = [
        size * each.deviation / each.num_patients
        for size, each in zip(sizes[is_told], seen, strict=True)
    ]
    num_patients = sum(each.num_patients for each in seen)
    blurred = math.sqrt(sum(each.disturbance for each in seen)) / num_patients
    target = np.maximum(alone + kept * np.sum(beyond, axis=0), np.minimum(alone, blurred))
    settled = _smoothed(target, joint[is_told].sum(axis=0), num_patients)
    return Margin(parent=parent, target=settled, is_told=is_told), kept


def unexplained(seen: Sequence[Association]) -> float:
    """Part of the hospitals' common deviation from independence that chance and noise do not explain, in [0, 1)."""
    deviation = np.sum([each.deviation for each in seen], axis=0)
    variance = np.sum([each.variance for each in seen], axis=0)
    is_possible = variance > 0
    num_rows, num_columns = (int(is_possible.any(axis=axis).sum()) for axis in (1, 0))
    if min(num_rows, num_columns) < 2:
        return 0.0
    freedom = (num_rows - 1) * (num_columns - 1)
    mean = float((deviation[is_possible] ** 2 / variance[is_possible]).mean())
    by_chance = 1.0 + 2.0 * math.sqrt(2.0 / freedom)
    return 1.0 - by_chance / mean if mean > by_chance else 0.0


def _smoothed(
    target: Float[np.ndarray, "parent_value value"],
    rows: Float[np.ndarray, " parent_value"],
    num_patients: float,
) -> Float[np.ndarray, "parent_value value"]:
    """The same with the sums of rows that the crowd has.

    Half a patient with each of the parent's values, like all others otherwise, keeps every pair possible.
    """
    smoothed = target + target.sum(axis=0) * 0.5 / num_patients
    settled: np.ndarray = smoothed * (rows / smoothed.sum(axis=1))[:, None]
    return settled
