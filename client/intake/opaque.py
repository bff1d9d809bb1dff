"""Identifiers end here: what was read, as bytes that only this hospital can tie to a person."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from client.dicom.outcome import Flag, Identity, Radiograph, Report
from client.sources.item import Item
from model.conditioning import Schema
from privacy.patient import link_key, opaque_name, patient_key, record_key

NUM_HEADER_ATTRIBUTES = len(Schema(()).names)
RECORD = np.dtype(
    [
        ("order", "<u8"),
        ("pixels", "<u8", (2,)),
        ("patient", "<u8"),
        ("row", "<f4", (NUM_HEADER_ATTRIBUTES,)),
        ("flags", "<u4"),
        ("study", "<u8"),
        ("accession", "<u8"),
        ("instance", "<u8"),
        ("patient_id", "<u8"),
    ]
)
"""What the journal keeps of a radiograph: its order among all, what tells equal pixels, its patient's key,
the attributes that its header tells, its flags, and what joins it to labels (0: to none)."""

Table = NDArray[np.void]
"""Records as an array of RECORD."""

_FLAGS = tuple(Flag)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportFacts:
    """What the journal keeps of a structured report: what it says, and what joins it to radiographs."""

    study: int
    accession: int
    patient_id: int
    states: Mapping[str, str]
    """Finding -> state."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Turns identifiers into opaque keys, with the hospital's secret."""

    secret: bytes = field(repr=False)

    def item(self, origin: str, item: Item) -> bytes:
        """Stands for an item of a kind of source."""
        return opaque_name(self.secret, "item", origin, item.name)

    def version(self, item: Item) -> bytes:
        """Stands for the state that an item is in."""
        return opaque_name(self.secret, "version", item.version, item.refused or "")

    def link(self, kind: str, identifier: str) -> int:
        """Joins what bears the same identifier of a kind."""
        return link_key(self.secret, kind, identifier)

    def record(self, radiograph: Radiograph) -> bytes:
        """A radiograph as RECORD."""
        identity, digest = radiograph.identity, radiograph.pixel_digest.hex()
        links = self._links(identity)
        # Files without an identifier must not be duplicates of each other: their pixels name them.
        name = identity.instance_uid.strip() or digest
        record = np.zeros((), RECORD)
        record["order"] = record_key(self.secret, instance_uid=name)
        record["pixels"] = np.frombuffer(opaque_name(self.secret, "pixels", digest), "<u8")
        record["patient"] = patient_key(
            self.secret, patient_id=identity.patient_id, issuer=identity.issuer
        )
        record["row"] = Schema(()).row(replace(radiograph.metadata, findings={}))
        record["flags"] = sum(1 << _FLAGS.index(flag) for flag in radiograph.flags)
        record["instance"] = self.link("instance", identity.instance_uid)
        for kind, link in links.items():
            record[kind] = link
        return record.tobytes()

    def report(self, report: Report, states: Mapping[str, str]) -> bytes:
        """A report, as `report_facts` reads it."""
        return json.dumps({**self._links(report.identity), "states": dict(states)}).encode()

    def patient(self, identity: Identity) -> int:
        """Joins a patient to lists of patients, whoever issued the id."""
        return self.link("patient", identity.patient_id)

    def _links(self, identity: Identity) -> dict[str, int]:
        """What both radiographs and reports are joined by."""
        return {
            "study": self.link("study", identity.study_uid),
            "accession": self.link("accession", identity.accession),
            "patient_id": self.patient(identity),
        }


def table_of(payloads: Iterable[bytes]) -> Table:
    """What `Keys.record` gave, as one array."""
    return np.frombuffer(b"".join(payloads), RECORD)


def report_facts(payload: bytes) -> ReportFacts:
    """What `Keys.report` gave."""
    return ReportFacts(**json.loads(payload))


def num_flagged(flags: NDArray[np.uint32]) -> dict[Flag, int]:
    """How many of the records (n,) carry each flag; flags that none carries are left out."""
    counts = {
        flag: int((flags >> np.uint32(bit) & np.uint32(1)).sum()) for bit, flag in enumerate(_FLAGS)
    }
    return {flag: count for flag, count in counts.items() if count}
