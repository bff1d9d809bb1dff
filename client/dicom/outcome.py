"""What reading one file can end in: a radiograph, a structured report, or a reason for neither."""

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from client.dicom.rejection import Rejection
from model.conditioning import Metadata


class Flag(StrEnum):
    """Something to look at in a radiograph that is used all the same."""

    LOW_RESOLUTION = "low_resolution"
    """Fewer pixels than the cache asks for: it was enlarged."""
    CLIPPED = "clipped"
    """A large part of the chest is pure black or pure white."""
    CROPPED = "cropped"
    """Much was cut away at the edges, or little of the square is covered."""
    LOSSY = "lossy"
    """Compressed with loss before it was read."""
    NO_VIEW = "no_view"
    """The header does not tell the view."""
    NO_BODY_PART = "no_body_part"
    """The header does not say that this is a chest."""
    NO_PATIENT = "no_patient"
    """Without a patient id: all such radiographs count as one patient."""
    RAW = "raw"
    """Made fit to look at from a raw detector picture."""
    SUSPECT_ORIENTATION = "suspect_orientation"
    """The picture does not look like an upright chest, whatever the header says."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """What links a radiograph or a report to its patient and study. Never printed, never stored."""

    instance_uid: str = field(repr=False)
    study_uid: str = field(repr=False)
    accession: str = field(repr=False)
    patient_id: str = field(repr=False)
    issuer: str = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Radiograph:
    """One usable radiograph."""

    image: NDArray[np.uint16]
    """(image_size, image_size), 0 black to 65535 white, white is dense."""
    metadata: Metadata
    identity: Identity
    pixel_digest: bytes
    """SHA-256 of the stored pixel values: equal for copies of a picture under another identifier."""
    flags: frozenset[Flag] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """One structured report: it has no pixels and tells findings of its study."""

    identity: Identity
    statements: tuple[str, ...] = field(repr=False)
    """Coded meanings and narrative text, in the order of the content tree. Never stored."""


Outcome = Radiograph | Report | Rejection
