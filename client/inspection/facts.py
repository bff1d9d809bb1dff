"""Counts over the usable radiographs of a cache, as tables that a page or a program can show."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from client.cache.records import Records
from federation.statistics import AGES, MANUFACTURERS, YEARS_PER_GROUP
from model.conditioning import FINDING_STATES, RACES, SEXES, VIEWS, Schema

UNKNOWN = "unknown"
STATES = (*FINDING_STATES, UNKNOWN)
_VALUES = {"sex": SEXES, "view": VIEWS, "manufacturer": MANUFACTURERS, "race": RACES}
_PER_PATIENT = {"1": (1, 1), "2": (2, 2), "3-5": (3, 5), "6-10": (6, 10), "11+": (11, 2**62)}

Counts = Mapping[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What the cache holds, counted in radiographs."""

    num_records: int
    num_patients: int
    num_held_out: int
    image_size: int
    """Pixels."""
    attributes: Mapping[str, Counts]
    """Attribute -> value or UNKNOWN -> radiographs; values that do not occur have 0."""
    findings: Mapping[str, Counts]
    """Finding -> one of STATES -> radiographs."""
    per_patient: Counts
    """Radiographs of one patient -> patients."""


def count(records: Records) -> Facts:
    """Count everything there is to count."""
    columns = dict(zip(Schema(records.findings).names, records.rows.T, strict=True))
    attributes = {"age": _ages(columns["age"])}
    attributes |= {name: _named(columns[name], values) for name, values in _VALUES.items()}
    _, radiographs = np.unique(records.patients, return_counts=True)
    return Facts(
        num_records=len(records),
        num_patients=len(radiographs),
        num_held_out=int(records.held_out.sum()),
        image_size=records.image_size,
        attributes=attributes,
        findings={name: _named(columns[name], FINDING_STATES) for name in records.findings},
        per_patient={
            name: int(((radiographs >= least) & (radiographs <= most)).sum())
            for name, (least, most) in _PER_PATIENT.items()
        },
    )


def _ages(years: NDArray[np.float32]) -> Counts:
    known = years[~np.isnan(years)]
    groups = np.clip(known // YEARS_PER_GROUP, 0, len(AGES) - 1).astype(int)
    counts = np.bincount(groups, minlength=len(AGES)).tolist()
    return dict(zip(AGES, counts, strict=True)) | {UNKNOWN: len(years) - len(known)}


def _named(ids: NDArray[np.float32], values: tuple[str, ...]) -> Counts:
    """Count ids, of which 0 is unknown and 1 the first value."""
    counts = np.bincount(ids.astype(int), minlength=len(values) + 1).tolist()
    return dict(zip(values, counts[1:], strict=True)) | {UNKNOWN: counts[0]}
