"""Patients who share a value -> hospitals: the frequent values get one each, what is left over shares the last."""

import re
from collections import Counter
from collections.abc import Mapping

import numpy as np

from model.conditioning import NUM_SITES

_RARE = 0.01
"""Share of the patients below which a value does not make a hospital of its own."""
_NAME_LENGTH = 40
_REST = "-and-rest"
_ROOM_FOR_REST = _NAME_LENGTH - len(_REST)
_NO_AGE = "age-unknown"


def by_value(values: Mapping[str, str], num_sites: int | None) -> dict[str, str]:
    """Patient -> hospital.

    Args:
        values: Patient -> the value that decides.
        num_sites: Hospitals, at most as many as there are values; None for one per value that is not rare.
    """
    named = {patient: _site_name(value) for patient, value in values.items()}
    counts = Counter(named.values())
    groups = sorted(counts, key=lambda name: (-counts[name], name))
    if num_sites is None:
        frequent = sum(count >= _RARE * len(named) for count in counts.values())
        num_sites = max(1, min(frequent, NUM_SITES))
    own, shared = groups[: num_sites - 1], groups[num_sites - 1 :]
    last = shared[0][:_ROOM_FOR_REST].strip("-") + _REST if len(shared) > 1 else shared[0]
    sites = dict(zip(own, own, strict=True)) | dict.fromkeys(shared, last)
    return {patient: sites[name] for patient, name in named.items()}


def first_age_band(facts: Mapping[str, Counter[str]], num_bands: int) -> dict[str, str]:
    """Patient -> band of the age at the first radiograph, about as many patients in each.

    Args:
        facts: Patient -> ages as text of three digits; empty if unknown.
        num_bands: Bands; fewer come out if very many patients are of one age.
    """
    ages = {patient: int(min(seen)) for patient, seen in facts.items() if seen}
    starts = _starts(list(ages.values()), num_bands)
    return {
        patient: _band(ages[patient], starts) if patient in ages else _NO_AGE for patient in facts
    }


def _starts(ages: list[int], num_bands: int) -> list[int]:
    """The youngest age of every band, and one more than the oldest age of all."""
    if not ages:
        return []
    shares = np.arange(num_bands) / num_bands
    edges = np.quantile(ages, shares, method="nearest").astype(int)
    return [*sorted(set(edges.tolist())), max(ages) + 1]


def _band(age: int, starts: list[int]) -> str:
    number = int(np.searchsorted(starts, age, side="right"))
    return f"age-{starts[number - 1]}-{starts[number] - 1}"


def _site_name(value: str) -> str:
    """A name that a roster takes."""
    name = re.sub(r"[^a-z0-9]+", "-", value.lower()).strip("-")
    return name[:_NAME_LENGTH].strip("-") or "unknown"
