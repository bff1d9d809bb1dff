"""Hospitals that differ in what their patients have, as strongly as one likes.

Each hospital draws its own mix of findings from a Dirichlet distribution around the mix of the whole set, and then
patients by this mix (Hsu et al. 2019, https://arxiv.org/abs/1909.06335). All hospitals are of equal size. A patient
stands in for one class: the finding, among those ever seen in the patient, that the fewest patients have.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping

import numpy as np

NOTHING = "nothing"
_LEAST_CONCENTRATION = (
    1e-6  # a Dirichlet distribution wants more than 0, and a class may be very rare
)


def rarest_findings(facts: Mapping[str, Counter[str]]) -> dict[str, str]:
    """Patient -> class, from the findings seen in each patient."""
    totals = Counter(finding for seen in facts.values() for finding in seen)
    return {
        patient: min(seen, key=lambda name: (totals[name], name)) if seen else NOTHING
        for patient, seen in facts.items()
    }


def dealt_by_mix(
    classes: Mapping[str, str], num_sites: int, alpha: float, rng: np.random.Generator
) -> dict[str, str]:
    """Patient -> hospital; in turn, each hospital takes a patient of a class drawn from its mix.

    Args:
        classes: Patient -> class; a single class for all makes hospitals that differ by chance only.
        num_sites: Hospitals.
        alpha: Concentration: 0.1 gives hospitals of one or two findings, 100 almost equal ones.
        rng: Decides everything.
    """
    waiting = _shuffled_by_class(classes, rng)
    names = sorted(waiting)
    left = np.array([len(waiting[name]) for name in names])
    mixes = rng.dirichlet(
        np.maximum(alpha * left / left.sum(), _LEAST_CONCENTRATION), size=num_sites
    )
    sites: dict[str, str] = {}
    for turn in range(len(classes)):
        site = turn % num_sites
        wanted = mixes[site] * (left > 0)
        if not wanted.sum() > 0.0:  # all that this hospital would like has gone
            wanted = left.astype(np.float64)
        choice = int(rng.choice(len(names), p=wanted / wanted.sum()))
        left[choice] -= 1
        sites[waiting[names[choice]].pop()] = f"site-{site + 1}"
    return sites


def _shuffled_by_class(
    classes: Mapping[str, str], rng: np.random.Generator
) -> Mapping[str, list[str]]:
    waiting: defaultdict[str, list[str]] = defaultdict(list)
    for patient in rng.permutation(sorted(classes)).tolist():
        waiting[classes[patient]].append(patient)
    return waiting
