"""Whole hospitals of phantoms: a DICOM archive and labels, with that hospital's habits and its rubbish."""

import csv
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import islice, product
from pathlib import Path
from typing import Literal

import numpy as np

from simulation.broken_files import write_broken_files
from simulation.dicom_writer import (
    Machine,
    Modality,
    Photometric,
    Study,
    ValuesOfInterest,
    build_radiograph,
    study_uid,
    write_radiograph,
)
from simulation.phantom import Phantom
from simulation.style import STYLES

StyleName = Literal["plain", "portable", "crisp"]

_CODES = {"present": "1", "absent": "0", "uncertain": "-1", "not_mentioned": ""}
_MORE_STUDIES = 0.3
_MAX_STUDIES = 3
_FIRST_DAY = datetime(2020, 1, 1, tzinfo=UTC)
_FILES_PER_FOLDER = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class PhantomSite:
    """One hospital: its patients, its machine and how careful it is."""

    name: str
    """Institution; with the seed, it decides who the patients are."""
    num_records: int
    """Usable radiographs."""
    view_mix: Mapping[str, float]
    """Share of each view, PA and AP."""
    prevalence: Mapping[str, float]
    """Probability of each finding; findings left out do not occur."""
    female_share: float
    age_mean: float
    """Years."""
    age_sd: float
    """Years."""
    manufacturer: str
    bits: int
    """Bits stored per pixel, 8 to 16."""
    photometric: Photometric
    style: StyleName
    num_broken: int
    """Files that cannot be used, of as many kinds as there are files."""
    modality: Modality
    seed: int
    values_of_interest: ValuesOfInterest = "window"

    def __post_init__(self) -> None:
        shares = [self.female_share, *self.view_mix.values(), *self.prevalence.values()]
        if not all(0.0 <= share <= 1.0 for share in shares):
            raise ValueError(f"phantom site {self.name}: every share must lie between 0 and 1")
        if abs(sum(self.view_mix.values()) - 1.0) > 1e-6:
            raise ValueError(f"phantom site {self.name}: the shares of view_mix must sum to 1")
        if self.num_records < 1:
            raise ValueError(f"phantom site {self.name}: num_records must be at least 1")

    @property
    def machine(self) -> Machine:
        """What the hospital's machine writes into every file."""
        return Machine(
            modality=self.modality,
            manufacturer=self.manufacturer,
            institution=f"SYN-{self.name}",
            bits=self.bits,
            photometric=self.photometric,
            values_of_interest=self.values_of_interest,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class PhantomSummary:
    """What was written."""

    num_files: int
    """With the broken ones."""
    num_records: int
    num_patients: int
    num_broken: int
    num_present: Mapping[str, int]
    """Records that show each finding."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedRecord:
    """One radiograph to be made."""

    study: Study
    machine: Machine
    style: StyleName
    patient_seed: int = field(repr=False)
    shown: frozenset[str]
    """Findings in the picture."""
    states: Mapping[str, str]
    """Finding -> state, as the report would say."""


def write_phantom_site(
    folder: Path, site: PhantomSite, findings: tuple[str, ...], image_size: int = 128
) -> PhantomSummary:
    """Write `dicom/` and `labels.csv` of one hospital; the same site gives the same bytes.

    Several studies of a patient show the same anatomy, some files are broken in ways that archives
    really are, and no patient is shared with a site of another name or seed.
    """
    records = list(islice(_plan_site(site, findings), site.num_records))
    paths = _write_records(folder, records, findings, image_size)
    num_broken = write_broken_files(folder / "dicom", paths[0], num_files=site.num_broken)
    return _summary(records, num_broken)


def write_balanced_set(
    folder: Path,
    sites: Iterable[PhantomSite],
    findings: tuple[str, ...],
    *,
    num_records: int,
    seed: int,
    image_size: int = 128,
) -> PhantomSummary:
    """Write a test set with equal shares of the sites' machines and styles, sexes, views and findings.

    Its patients occur in no hospital. The shares are exactly equal when `num_records` is a multiple of
    sites x 2 x 2 x findings, and differ by at most one record per combination otherwise.
    """
    records = list(_plan_balanced(list(sites), findings, num_records=num_records, seed=seed))
    _write_records(folder, records, findings, image_size)
    return _summary(records, num_broken=0)


def _seed_of(*parts: str | int) -> int:
    """A seed in [0, 2**63) that different parts do not share."""
    digest = hashlib.sha256("|".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _plan_site(site: PhantomSite, findings: tuple[str, ...]) -> Iterator[PlannedRecord]:
    """Patients one after the other without end, each with one to three studies."""
    rng = np.random.default_rng(_seed_of("plan", site.name, site.seed))
    patient_number = 0
    while True:
        patient_number += 1
        patient_seed = _seed_of("patient", site.name, site.seed, patient_number)
        sex = "F" if rng.random() < site.female_share else "M"
        age = int(np.clip(rng.normal(site.age_mean, site.age_sd), 18, 95))
        first_day = int(rng.integers(1000))
        num_studies = int(rng.integers(2, _MAX_STUDIES + 1)) if rng.random() < _MORE_STUDIES else 1
        for number in range(1, num_studies + 1):
            states = _draw_states(rng, site.prevalence, findings)
            study = Study(
                patient_id=f"SYN-{site.name}-{site.seed}-{patient_number:05d}",
                number=number,
                sex=sex,
                age=age,
                view=str(rng.choice(list(site.view_mix), p=list(site.view_mix.values()))),
                taken=_FIRST_DAY + timedelta(days=first_day + 30 * number, minutes=patient_number),
            )
            yield PlannedRecord(
                study=study,
                machine=site.machine,
                style=site.style,
                patient_seed=patient_seed,
                shown=_shown(rng, states),
                states=states,
            )


def _draw_states(
    rng: np.random.Generator, prevalence: Mapping[str, float], findings: tuple[str, ...]
) -> dict[str, str]:
    """Reports mention what is there, half of what is not, and are unsure once in twenty."""
    present = {f for f in findings if f != "no_finding" and rng.random() < prevalence.get(f, 0.0)}
    silent = {f for f in findings if rng.random() < 0.5}
    unsure = {f for f in findings if rng.random() < 0.05}
    states = {f: "not_mentioned" if f in silent else "absent" for f in findings}
    states |= {f: "uncertain" if f in unsure else "present" for f in present}
    if "no_finding" in findings:
        healthy = present <= {"support_devices"}
        states["no_finding"] = "present" if healthy else "not_mentioned"
    return states


def _shown(rng: np.random.Generator, states: Mapping[str, str]) -> frozenset[str]:
    """Findings drawn: those present, and one in two of the uncertain."""
    return frozenset(
        finding
        for finding, state in states.items()
        if state == "present" or (state == "uncertain" and rng.random() < 0.5)
    )


def _plan_balanced(
    sites: list[PhantomSite], findings: tuple[str, ...], *, num_records: int, seed: int
) -> Iterator[PlannedRecord]:
    """Walk through all combinations, the fast ones first, as often as it takes."""
    combinations = list(product(findings, ("PA", "AP"), ("F", "M"), sites))
    rng = np.random.default_rng(_seed_of("balanced plan", seed))
    for number in range(num_records):
        finding, view, sex, site = combinations[number % len(combinations)]
        study = Study(
            patient_id=f"SYN-BALANCED-{seed}-{number:05d}",
            number=1,
            sex=sex,
            age=int(rng.integers(20, 90)),
            view=view,
            taken=_FIRST_DAY + timedelta(minutes=number),
        )
        yield PlannedRecord(
            study=study,
            machine=replace(site.machine, institution="SYN-BALANCED"),
            style=site.style,
            patient_seed=_seed_of("balanced patient", seed, number),
            shown=frozenset({finding}),
            states={f: "present" if f == finding else "absent" for f in findings},
        )


def _write_records(
    folder: Path, records: list[PlannedRecord], findings: tuple[str, ...], image_size: int
) -> list[Path]:
    phantom = Phantom(image_size)
    paths = [_path_of(folder / "dicom", number) for number in range(len(records))]
    for path, record in zip(paths, records, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        brightness = phantom.render(
            findings=record.shown,
            patient_seed=record.patient_seed,
            study_seed=record.study.number,
            sex=record.study.sex,
            age=record.study.age,
            view=record.study.view,
            style=STYLES[record.style],
        )
        write_radiograph(path, build_radiograph(brightness, record.machine, record.study))
    _write_labels(folder / "labels.csv", records, findings)
    return paths


def _path_of(folder: Path, number: int) -> Path:
    return folder / f"{number // _FILES_PER_FOLDER:03d}" / f"{number:06d}.dcm"


def _write_labels(path: Path, records: list[PlannedRecord], findings: tuple[str, ...]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["study_instance_uid", *findings])
        for record in records:
            uid = study_uid(record.machine, record.study)
            writer.writerow([uid, *(_CODES[record.states[finding]] for finding in findings)])


def _summary(records: list[PlannedRecord], num_broken: int) -> PhantomSummary:
    return PhantomSummary(
        num_files=len(records) + num_broken,
        num_records=len(records),
        num_patients=len({record.patient_seed for record in records}),
        num_broken=num_broken,
        num_present=Counter(finding for record in records for finding in record.shown),
    )
