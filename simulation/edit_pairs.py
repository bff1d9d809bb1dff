"""Pairs of phantoms that differ in exactly one attribute: what a perfect edit of the one would make of it.

The same patient in the same study, drawn twice. Each picture goes through a DICOM file and the hospital's own
reader, as the pictures did that a model was trained on.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from client.dicom.outcome import Radiograph
from client.dicom.policy import ReadPolicy
from client.dicom.reader import read_file
from model.conditioning import Schema
from simulation.dicom_writer import Study, build_radiograph, write_radiograph
from simulation.hospitals import HOSPITALS
from simulation.phantom import Phantom
from simulation.phantom_sites import PhantomSite
from simulation.style import STYLES

PHANTOM_SIZE = 128
"""Pixels of the files, before the reader makes them small."""
YOUNG, OLD = 35, 80
"""Years: 45 apart, and the aorta unfolds from 45 on."""
BOTH_WAYS = (
    *("cardiomegaly", "enlarged_cardiomediastinum", "edema"),
    *("pleural_effusion", "support_devices"),
)
"""Findings whose place in a healthy chest is known, but for the side of an effusion and the electrodes."""
REMOVED = ("lung_lesion", "pneumothorax")
"""Findings that could appear in many places: where they disappear is known."""
_TAKEN = datetime(2021, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """One picture of a patient."""

    sex: str
    age: int
    view: str
    findings: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EditPair:
    """A picture, and the same with one attribute changed."""

    edit: str
    """What was changed, in words."""
    before: NDArray[np.float32]
    """(row, column) in [-1, 1]."""
    after: NDArray[np.float32]
    """The true counterfactual."""
    source: NDArray[np.float32]
    """Condition of `before`, (attribute,): findings that are not shown are absent, `no_finding` is open."""
    target: NDArray[np.float32]
    """Condition of `after`; differs in one attribute."""


def draw_pairs(
    schema: Schema, image_size: int, *, num_patients: int, seed: int
) -> Iterator[EditPair]:
    """All edits of each of some patients, who occur in no hospital.

    Args:
        schema: attributes that the model knows; edits of other findings are left out.
        image_size: side of the model's pictures, in pixels.
        num_patients: they take turns in the machines and habits of the three kinds of hospital.
        seed: decides who the patients are.
    """
    phantom = Phantom(PHANTOM_SIZE)
    rng = np.random.default_rng(seed)
    with TemporaryDirectory() as folder:
        for number in range(num_patients):
            camera = _Camera(
                phantom=phantom,
                site=HOSPITALS[number % len(HOSPITALS)],
                patient_seed=_patient_seed(seed, number),
                path=Path(folder) / "picture.dcm",
                image_size=image_size,
            )
            for edit, before, after in _edits(_patient(camera.site, number, rng), schema.findings):
                yield _pair(camera, schema, edit, before, after)


def _patient_seed(seed: int, number: int) -> int:
    digest = hashlib.sha256(f"edited patient|{seed}|{number}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _patient(site: PhantomSite, number: int, rng: np.random.Generator) -> Shown:
    """A healthy patient as the hospital sees many."""
    return Shown(
        sex="FM"[number // len(HOSPITALS) % 2],
        age=int(np.clip(rng.normal(site.age_mean, site.age_sd), 18, 95)),
        view=str(rng.choice(list(site.view_mix), p=list(site.view_mix.values()))),
    )


def _edits(patient: Shown, findings: Sequence[str]) -> Iterator[tuple[str, Shown, Shown]]:
    """Name of the edit, the picture before it, the picture after it."""
    for finding in (*BOTH_WAYS, *REMOVED):
        if finding in findings:
            ill = replace(patient, findings=frozenset({finding}))
            if finding in BOTH_WAYS:
                yield f"{finding} appears", patient, ill
            yield f"{finding} disappears", ill, patient
    for old, new in ("MF", "FM"):
        yield f"sex {old} to {new}", replace(patient, sex=old), replace(patient, sex=new)
    for years, later in ((YOUNG, OLD), (OLD, YOUNG)):
        yield f"age {years} to {later}", replace(patient, age=years), replace(patient, age=later)
    yield "view PA to AP", replace(patient, view="PA"), replace(patient, view="AP")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Camera:
    """Takes pictures of one patient in one study."""

    phantom: Phantom
    site: PhantomSite
    patient_seed: int
    path: Path
    image_size: int

    def take(self, shown: Shown) -> Radiograph:
        """The picture as the hospital's reader gives it."""
        brightness = self.phantom.render(
            findings=shown.findings,
            patient_seed=self.patient_seed,
            study_seed=1,
            sex=shown.sex,
            age=shown.age,
            view=shown.view,
            style=STYLES[self.site.style],
        )
        study = Study(
            patient_id="SYN-EDIT",
            number=1,
            sex=shown.sex,
            age=shown.age,
            view=shown.view,
            taken=_TAKEN,
        )
        write_radiograph(self.path, build_radiograph(brightness, self.site.machine, study))
        outcome = read_file(self.path, image_size=self.image_size, policy=ReadPolicy())
        if not isinstance(outcome, Radiograph):
            raise TypeError("a phantom is always readable")
        return outcome


def _pair(camera: _Camera, schema: Schema, edit: str, before: Shown, after: Shown) -> EditPair:
    taken = [(shown, camera.take(shown)) for shown in (before, after)]
    images = [
        radiograph.image * np.float32(2.0 / 65535.0) - np.float32(1.0) for _, radiograph in taken
    ]
    rows = [_row(schema, radiograph, shown.findings) for shown, radiograph in taken]
    return EditPair(edit=edit, before=images[0], after=images[1], source=rows[0], target=rows[1])


def _row(schema: Schema, radiograph: Radiograph, present: frozenset[str]) -> NDArray[np.float32]:
    """What the header tells, and every finding but `no_finding`."""
    states = {
        name: "present" if name in present else "absent"
        for name in schema.findings
        if name != "no_finding"
    }
    return schema.row(replace(radiograph.metadata, findings=states))
