"""What is known about a radiograph, as one row of numbers.

A row holds one number per attribute: the age in years, and for every other attribute the id of its
value. Id 0 is null: not recorded, not understood, or dropped on purpose. A null age is NaN. Rows
are plain numpy, so that a hospital can write them without loading the network.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FINDINGS = (
    "atelectasis",
    "cardiomegaly",
    "consolidation",
    "edema",
    "enlarged_cardiomediastinum",
    "fracture",
    "lung_lesion",
    "lung_opacity",
    "no_finding",
    "pleural_effusion",
    "pleural_other",
    "pneumonia",
    "pneumothorax",
    "support_devices",
)
"""The fourteen of CheXpert (Irvin et al. 2019, https://arxiv.org/abs/1901.07031)."""

FINDING_STATES = ("absent", "present", "uncertain", "not_mentioned")
"""Ids 1 to 4. "Not mentioned" is a fact about a report; null means that nobody asked."""

SEXES = ("F", "M")
VIEWS = ("PA", "AP", "LATERAL", "OTHER")
RACES = ("asian", "black", "white", "other")
NUM_SITES = 32
NUM_MANUFACTURERS = 16
MAX_AGE = 100.0
"""Years; older patients share the last knot."""

OLDEST = 150.0
"""Years; a higher age is a mistake and becomes null."""

NUM_AGE_KNOTS = 21
"""Ages that have an embedding: 0, 5, ... 100 years. Between two, embeddings are interpolated."""

NULL = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Metadata:
    """What one hospital knows about one radiograph; None where it does not."""

    age: float | None
    """Years at the time of the radiograph."""

    sex: str | None
    """One of ``SEXES``."""

    view: str | None
    """One of ``VIEWS``."""

    race: str | None
    """One of ``RACES``."""

    site: int | None
    """Number of the hospital in the study, 1 to 32."""

    manufacturer: int | None
    """Number of the maker of the machine in the study, 1 to 16."""

    findings: Mapping[str, str]
    """Finding -> one of ``FINDING_STATES``; findings left out are null."""


@dataclass(frozen=True, slots=True)
class Schema:
    """The attributes of a study, in order, and where their values lie in the embedding table."""

    findings: tuple[str, ...] = FINDINGS
    """Findings that the study asks for."""

    def __post_init__(self) -> None:
        if len(set(self.names)) < len(self.names) or not all(self.names):
            raise ValueError(
                f"findings are {self.findings}, they must be different names, "
                "none of them empty or the name of another attribute"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """All attributes, in the order of a row."""
        return ("age", "sex", "view", "race", "site", "manufacturer", *self.findings)

    @property
    def vocabulary(self) -> tuple[int, ...]:
        """Values per attribute without null, in the order of a row; for age the knots."""
        named = (NUM_AGE_KNOTS, len(SEXES), len(VIEWS), len(RACES), NUM_SITES, NUM_MANUFACTURERS)
        return (*named, *(len(FINDING_STATES) for _ in self.findings))

    @property
    def offsets(self) -> tuple[int, ...]:
        """Row of the embedding table that holds each attribute's null; its values follow."""
        sizes = np.asarray(self.vocabulary) + 1
        return tuple(int(end - size) for end, size in zip(np.cumsum(sizes), sizes, strict=True))

    @property
    def num_embeddings(self) -> int:
        """Rows of the embedding table."""
        return sum(self.vocabulary) + len(self.names)

    def row(self, metadata: Metadata) -> NDArray[np.float32]:
        """Numbers of shape (attribute,): age in years or NaN, then ids.

        A value that the study does not know becomes null; a finding that it does not ask for is
        left out.
        """
        ids = (
            _id_of(metadata.sex, SEXES),
            _id_of(metadata.view, VIEWS),
            _id_of(metadata.race, RACES),
            _number(metadata.site, NUM_SITES),
            _number(metadata.manufacturer, NUM_MANUFACTURERS),
            *(_id_of(metadata.findings.get(name), FINDING_STATES) for name in self.findings),
        )
        return np.array((_age(metadata.age), *ids), dtype=np.float32)

    def null_row(self) -> NDArray[np.float32]:
        """Numbers of shape (attribute,) of a radiograph of which nothing is known."""
        row = np.full(len(self.names), NULL, dtype=np.float32)
        row[0] = np.nan
        return row


def _id_of(value: str | None, values: tuple[str, ...]) -> int:
    """Place of ``value`` from 1 on; null if it is not there."""
    return NULL if value not in values else values.index(value) + 1


def _number(value: int | None, largest: int) -> int:
    """``value`` if it is a number of the study, otherwise null."""
    return value if value is not None and 1 <= value <= largest else NULL


def _age(years: float | None) -> float:
    """Age in years, NaN for none or for one that nobody has."""
    return years if years is not None and 0 <= years <= OLDEST else math.nan
