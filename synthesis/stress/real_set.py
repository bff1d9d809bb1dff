"""A hospital's held-out radiographs, one of each patient, of which it is known whether they show the finding."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from client.cache.records import Records
from model.conditioning import Schema
from model.evaluation.questions import UNKNOWN, classes
from synthesis.real import one_of_each_patient
from synthesis.stress.judges import READ_AT_ONCE


class NoneHeldOut(ValueError):
    """Nothing real to test on."""

    def __init__(self, finding: str) -> None:
        super().__init__(
            f"none of the hospital's held-out radiographs is known to show {finding} or not: ingest with labels and "
            "a held_out_share above 0, or leave --real out"
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RealSet:
    """n radiographs."""

    records: Records
    places: NDArray[np.intp]
    """(n,), of each in the cache."""

    present: NDArray[np.bool_]
    """(n,), the truth; what a report does not mention counts as absent."""

    @property
    def rows(self) -> NDArray[np.float32]:
        """(n, attribute)."""
        return self.records.rows[self.places]

    def batches(self) -> Iterator[Tensor]:
        """Images (batch, 1, h, w) in [-1, 1], in order."""
        for first in range(0, len(self.places), READ_AT_ONCE):
            yield self.records.batch(self.places[first : first + READ_AT_ONCE])[0]


def held_out_with(finding: str, records: Records) -> RealSet:
    """Of every held-out patient one radiograph of which the finding is known, in random order.

    Raises:
        NoneHeldOut: there is none.
    """
    answers = classes(records.rows, Schema(records.findings))[finding]
    eligible = records.held_out & (answers != UNKNOWN)
    places = one_of_each_patient(records, eligible, np.random.default_rng(0))
    if not len(places):
        raise NoneHeldOut(finding)
    return RealSet(records=records, places=places, present=answers[places] == 1)
