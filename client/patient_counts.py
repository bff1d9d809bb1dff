"""A hospital's patients by what is known of them, as they are. For the hospital's own eyes.

A patient has one value of each attribute: that of its first record, in the cache's order, that has one. It has one
pair of values of two attributes: that of its first record that has both. So one patient more or less changes one
count of each attribute, and one of each pair, by one, however many radiographs it has.
"""

import numpy as np
from numpy.typing import NDArray

from client.cache.records import Records
from federation.statistics import (
    AGES,
    PRESENCE,
    PRESENCE_OF,
    YEARS_PER_GROUP,
    Pair,
    layout,
    pair_layout,
)
from model.conditioning import FINDING_STATES, Schema

Ids = NDArray[np.int64]
"""One per record: the place of its value in the layout, from 1 on; 0 where the value is not known."""

_PRESENCE = np.array([0, *(1 + PRESENCE.index(PRESENCE_OF[state]) for state in FINDING_STATES)])
"""Id of a finding's state -> id of its presence."""


def patients_by_value(records: Records) -> dict[str, list[int]]:
    """Attribute -> patients by value, in the layout's order."""
    ids = _ids(records)
    return {
        name: _patients_per_id(records.patients, ids[name], num_ids=len(values))
        for name, values in layout(records.findings).items()
    }


def patients_by_pair(records: Records, pair: Pair, is_counted: NDArray[np.bool_]) -> list[int]:
    """Patients by two values, row after row: a row per value of the first attribute, as in `pair_layout`.

    Args:
        records: The hospital's.
        pair: Two attributes.
        is_counted: One per record; the records of patients that are left out are False.
    """
    ids, shape = _ids(records), pair_layout(records.findings)
    first, second = (
        _PRESENCE[ids[name]] if name in records.findings else ids[name] for name in pair
    )
    num_rows, num_columns = (len(shape[name]) for name in pair)
    is_known = (first > 0) & (second > 0) & is_counted
    cells = np.where(is_known, (first - 1) * num_columns + second, 0)
    return _patients_per_id(records.patients, cells, num_ids=num_rows * num_columns)


def _ids(records: Records) -> dict[str, Ids]:
    """Of every attribute of the layout."""
    columns = dict(zip(Schema(records.findings).names, np.asarray(records.rows).T, strict=True))
    age = columns["age"]
    group = np.where(np.isnan(age), -1.0, np.minimum(age // YEARS_PER_GROUP, len(AGES) - 1))
    columns |= {"age": group + 1, "split": np.where(records.held_out, 2.0, 1.0)}
    return {
        name: np.where(columns[name] <= len(values), columns[name], 0).astype(np.int64)
        for name, values in layout(records.findings).items()
    }


def _patients_per_id(patients: NDArray[np.uint64], ids: Ids, *, num_ids: int) -> list[int]:
    """Patients per id from 1 on; a patient counts under the id of its first record that has one."""
    is_known = ids > 0
    _, first = np.unique(patients[is_known], return_index=True)
    per_id = np.bincount(ids[is_known][first], minlength=num_ids + 1)
    return [int(number) for number in per_id[1:]]
