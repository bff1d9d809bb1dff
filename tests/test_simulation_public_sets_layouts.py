"""Each of the seven public sets, as a tiny copy of its layout, becomes hospitals that the hospital's reader reads."""

import csv
import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread, dcmwrite

from client.dicom.outcome import Radiograph
from client.dicom.pixels import decode_frame
from client.dicom.policy import ReadPolicy
from client.dicom.reader import read_file
from model.conditioning import FINDINGS
from simulation.config import FolderSet, FolderSite, load_simulation
from simulation.dicom_writer import Machine, Study, build_radiograph
from simulation.phantom import Phantom
from simulation.public_sets.catalogue import SETS
from simulation.public_sets.counts import Fate
from simulation.public_sets.importing import ImportPlan, import_set
from simulation.public_sets.partition import Partition
from simulation.public_sets.record import WrongFolder
from simulation.style import STYLES

SIZE, COUNT = 64, 6
CODES = {"1": "present", "0": "absent", "-1": "uncertain", "": "not_mentioned"}

Pixels = NDArray[np.integer]


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """What one radiograph must come out as."""

    pixels: Pixels
    view: str | None
    age: float | None
    sex: str | None
    manufacturer: int | None = None
    findings: Mapping[str, str]
    """Some of the cells of its row in the labels."""


def phantom(number: int, bits: int = 8) -> Pixels:
    """Another chest for every number."""
    brightness = Phantom(SIZE).render(
        findings=frozenset(),
        patient_seed=number,
        study_seed=1,
        sex="F",
        age=50.0,
        view="PA",
        style=STYLES["plain"],
    )
    values = np.rint(brightness * (2**bits - 1))
    return np.asarray(values, np.uint8 if bits == 8 else np.uint16)


PHANTOMS = [phantom(number) for number in range(COUNT)]
DEEP_PHANTOMS = [phantom(number, 16) for number in range(COUNT)]


def write_table(path: Path, titles: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    text = StringIO(newline="")
    csv.writer(text).writerows([titles, *rows])
    content = text.getvalue().encode()
    put(path, gzip.compress(content) if path.suffix == ".gz" else content)


def put(path: Path, content: bytes | bytearray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def jpeg(path: Path, number: int) -> Pixels:
    """Write a JPEG; its pixels are what it decodes to."""
    content = imagecodecs.jpeg8_encode(PHANTOMS[number], level=95)
    put(path, content)
    return np.asarray(imagecodecs.jpeg8_decode(content))


def png(path: Path, pixels: Pixels) -> Pixels:
    put(path, imagecodecs.png_encode(pixels))
    return pixels


def dicom(path: Path, number: int, *, age: int = 0) -> Pixels:
    """Write a radiograph as a hospital of the set would have, with other identifiers than the set's."""
    machine = Machine(
        modality="CR",
        manufacturer="FUJIFILM Corporation",
        institution="X",
        bits=12,
        photometric="MONOCHROME1",
    )
    study = Study(
        patient_id=f"SYN{number}",
        number=1,
        sex="M",
        age=age,
        view="PA",
        taken=datetime(2020, 1, 1, tzinfo=UTC),
    )
    radiograph = build_radiograph(PHANTOMS[number] / 255.0, machine, study)
    path.parent.mkdir(parents=True, exist_ok=True)
    dcmwrite(path, radiograph, enforce_file_format=True)
    return np.asarray(radiograph.pixel_array)


def nih(folder: Path) -> dict[str, Known]:
    known, rows = {}, []
    for number in range(COUNT):
        name, ill = f"{number + 1:08d}_000.png", number % 2 == 0
        grey = PHANTOMS[number]
        alpha = np.full_like(grey, 255)
        picture = grey if number else np.stack([grey, grey, grey, alpha], axis=-1)
        png(folder / f"images_00{1 + ill}" / "images" / name, picture)
        labels = "Edema|Effusion" if ill else "No Finding"
        age, sex, view = ("150", "M", "AP") if ill else ("058", "F", "PA")
        rows.append((name, labels, 0, number + 1, age, sex, view, 2500, 2000, 0.2, 0.2))
        known[str(number + 1)] = Known(
            pixels=grey,
            view=view,
            age=None if ill else 58.0,
            sex=sex,
            findings={
                "edema": "1" if ill else "0",
                "pleural_effusion": "1" if ill else "0",
                "support_devices": "unknown",
            },
        )
    titles = (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position"
    )
    titles += ",OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
    write_table(folder / "Data_Entry_2017_v2020.csv", titles.split(","), rows)
    return known


CHEXPERT_LABELS = ("No Finding", "Cardiomegaly", "Pneumonia", "Edema", "Support Devices")
CHEXPERT_CELLS = ("", "1.0", "-1.0", "0.0", "")
CHEXPERT_FINDINGS = {"cardiomegaly": "1", "pneumonia": "-1", "edema": "0", "support_devices": ""}


def chexpert(folder: Path) -> dict[str, Known]:
    known, rows = {}, []
    for number in range(COUNT):
        patient, lateral = f"patient{number:05d}", number % 2 == 0
        end = f"train/{patient}/study1/view1_{'lateral' if lateral else 'frontal'}.jpg"
        side = ("Lateral", "") if lateral else ("Frontal", "AP")
        age, sex = ("0", "Unknown") if lateral else ("90", "Female")
        rows.append((f"CheXpert-v1.0-small/{end}", sex, age, *side, *CHEXPERT_CELLS))
        known[patient] = Known(
            pixels=jpeg(folder / end, number),
            view="LATERAL" if lateral else "AP",
            age=None if lateral else 90.0,
            sex=None if lateral else "F",
            findings=CHEXPERT_FINDINGS,
        )
    titles = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA")
    write_table(folder / "train.csv", (*titles, *CHEXPERT_LABELS), rows)
    return known


def chexpert_plus(folder: Path) -> dict[str, Known]:
    known, rows, labels = {}, [], []
    for number in range(COUNT):
        patient = f"patient{number:05d}"
        path = f"train/{patient}/study1/view1_frontal.jpg"
        rows.append((path, path, "Frontal", "PA", patient, "Asian", 44.0, "Male", "a report"))
        cells = [float(cell) if cell else None for cell in CHEXPERT_CELLS]
        labels.append({"path_to_image": path, **dict(zip(CHEXPERT_LABELS, cells, strict=True))})
        picture = (folder / "PNG" / path).with_suffix(".png")
        known[patient] = Known(
            pixels=png(picture, PHANTOMS[number]),
            view="PA",
            age=44.0,
            sex="M",
            findings=CHEXPERT_FINDINGS,
        )
    titles = ("path_to_image", "path_to_dcm", "frontal_lateral", "ap_pa", "deid_patient_id")
    write_table(
        folder / "df_chexpert_plus_240401.csv", (*titles, "race", "age", "sex", "report"), rows
    )
    lines = "\n".join(map(json.dumps, labels))
    put(folder / "chexbert_labels" / "impression_fixed.json", lines.encode())
    return known


def mimic(folder: Path, *, in_dicom: bool = False) -> dict[str, Known]:
    known, rows, labels = {}, [], []
    for number in range(COUNT):
        subject, study, view = 10000032 + number, 50414267 + number, ("PA", "LL")[number % 2]
        name = f"02aa804e-{number}"
        place = folder / "files" / "p10" / f"p{subject}" / f"s{study}"
        rows.append((name, subject, study, view, 3056, 2544))
        labels.append((subject, study, *CHEXPERT_CELLS))
        known[f"p{subject}"] = Known(
            pixels=dicom(place / f"{name}.dcm", number)
            if in_dicom
            else jpeg(place / f"{name}.jpg", number),
            view={"PA": "PA", "LL": "LATERAL"}[view],
            age=None,
            sex=None,
            manufacturer=4 if in_dicom else None,
            findings=CHEXPERT_FINDINGS,
        )
    titles = ("dicom_id", "subject_id", "study_id", "ViewPosition", "Rows", "Columns")
    write_table(folder / "mimic-cxr-2.0.0-metadata.csv.gz", titles, rows)
    write_table(
        folder / "mimic-cxr-2.0.0-chexpert.csv.gz",
        ("subject_id", "study_id", *CHEXPERT_LABELS),
        labels,
    )
    return known


def mimic_in_dicom(folder: Path) -> dict[str, Known]:
    return mimic(folder, in_dicom=True)


def padchest(folder: Path) -> dict[str, Known]:
    known, rows = {}, []
    for number in range(COUNT):
        name, ill = f"2053668664013634823614_{number}.png", number % 2 == 0
        labels = "['pleural effusion', ' pneumonia']" if ill else "['normal']"
        birth, sex = ("1930.0", "F") if ill else ("", "O")
        cells = ("20140915", f"study{number}", f"patient{number}", birth, sex)
        rows.append(
            (number, name, 0, *cells, "AP_horizontal", "CR", "PhilipsMedicalSystems", labels)
        )
        known[f"patient{number}"] = Known(
            pixels=png(folder / "images" / "0" / name, DEEP_PHANTOMS[number]),
            view="AP",
            age=84.0 if ill else None,
            sex="F" if ill else None,
            manufacturer=8,
            findings={
                "pleural_effusion": "1" if ill else "0",
                "pneumonia": "1" if ill else "0",
            },
        )
    titles = ("", "ImageID", "ImageDir", "StudyDate_DICOM", "StudyID", "PatientID", "PatientBirth")
    more = ("PatientSex_DICOM", "Projection", "Modality_DICOM", "Manufacturer_DICOM", "Labels")
    path = folder / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv.gz"
    write_table(path, (*titles, *more), rows)
    return known


def vindr(folder: Path) -> dict[str, Known]:
    known: dict[str, Known] = {}
    names = ("Cardiomegaly", "Pleural effusion", "Pneumonia", "No finding")
    for split, numbers in (("train", (0, 1, 2)), ("test", (3, 4, 5))):
        readers = ["R1", "R2", "R3"] if split == "train" else []
        rows: list[tuple[object, ...]] = []
        for number in numbers:
            name, age = f"50a418190bc3fb1ef1633bf9678929b{number}", 61 * (number % 2)
            rows += [(name, reader, 1, 0, 0, 0) for reader in readers] or [(name, 1, 0, 0, 0)]
            known[name] = Known(
                pixels=dicom(folder / split / f"{name}.dicom", number, age=age),
                view="PA",
                age=61.0 if age else None,
                sex="M",
                manufacturer=4,
                findings={"cardiomegaly": "1", "pleural_effusion": "0", "pneumonia": "0"},
            )
        titles = ("image_id", *(["rad_id"] if readers else []), *names)
        write_table(folder / "annotations" / f"image_labels_{split}.csv", titles, rows)
    return known


def brax(folder: Path) -> dict[str, Known]:
    known, rows = {}, []
    for number in range(COUNT):
        patient, old = f"id_{number}", number % 2 == 0
        place = f"{patient}/Study_1.2.{number}/Series_3.4.{number}/image-5-6-{number}"
        png_path, dicom_path = f"images/{place}.png", f"Anonymized_DICOMs/{place}.dcm"
        age, view = ("85 or more", "RLO") if old else ("60", "PA")
        cells = (dicom_path, png_path, patient, "F", age, f"acc{number}", "2010-01-01")
        rows.append((*cells, *CHEXPERT_CELLS, view, 2000, 2000, 7))
        known[patient] = Known(
            pixels=png(folder / png_path, DEEP_PHANTOMS[number]),
            view="OTHER" if old else "PA",
            age=85.0 if old else 60.0,
            sex="F",
            manufacturer=None,
            findings=CHEXPERT_FINDINGS,
        )
    titles = ("DicomPath", "PngPath", "PatientID", "PatientSex", "PatientAge", "AccessionNumber")
    more = ("StudyDate", *CHEXPERT_LABELS, "ViewPosition", "Rows", "Columns", "Manufacturer")
    write_table(folder / "master_spreadsheet_update.csv", (*titles, *more), rows)
    return known


def rexgradient(folder: Path) -> dict[str, Known]:
    known, studies, reports = {}, {}, []
    findings = "Small left pleural effusion. No pneumothorax."
    for number in range(COUNT):
        patient, accession, study = f"GRDNP{number}", f"GRDNA{number}", f"1.2.{number}"
        key = f"p{patient}_a{accession}_s{study}"
        place = f"{patient}/{accession}/studies/{study}/series/9/instances/1.3.{number}.png"
        studies[key] = {
            "PatientID": patient,
            "AccessionNumber": accession,
            "StudyInstanceUid": study,
            "PatientAge": "007Y" if number % 2 else "002D",
            "PatientSex": "M",
            "EthnicGroup": "BLACK",
            "Manufacturer": "['SIEMENS']",
            "ImagePath": [f"../deid_png/{place}"],
            "ImageViewPosition": ["POSTERO_ANTERIOR"],
            "ImageModality": ["DX"],
            "Findings": findings,
        }
        reports.append((key, patient, accession, study, findings, "As above."))
        known[patient] = Known(
            pixels=png(folder / "deid_png" / place, PHANTOMS[number]),
            view="PA",
            age=7.0 if number % 2 else 2 / 365.25,
            sex="M",
            manufacturer=11,
            findings={"pleural_effusion": "1", "pneumothorax": "0"},
        )
    put(
        folder / "metadata" / "train_metadata_view_position.json",
        json.dumps(studies, indent=1).encode(),
    )
    titles = ("id", "PatientID", "AccessionNumber", "StudyInstanceUid", "Findings", "Impression")
    write_table(folder / "metadata" / "train_metadata.csv", titles, reports)
    return known


Make = Callable[[Path], dict[str, Known]]
LAYOUTS: dict[str, tuple[str, Make]] = {
    "nih": ("nih", nih),
    "chexpert": ("chexpert", chexpert),
    "chexpert-plus": ("chexpert", chexpert_plus),
    "mimic": ("mimic", mimic),
    "mimic-dicom": ("mimic", mimic_in_dicom),
    "padchest": ("padchest", padchest),
    "vindr": ("vindr", vindr),
    "brax": ("brax", brax),
    "rexgradient": ("rexgradient", rexgradient),
}
PARTITION = Partition(by="random", num_sites=2, held_out=0.2)


@pytest.fixture(scope="module", params=LAYOUTS)
def imported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Known]]:
    """A set's hospitals, and what must be in them."""
    name, make = LAYOUTS[request.param]
    folder = tmp_path_factory.mktemp(name)
    known = make(folder / "source")
    plan = ImportPlan(public_set=SETS[name], source=folder / "source", partition=PARTITION)
    summary = import_set(plan, folder / "out", on_progress=lambda _done, _total: None)
    assert summary.fates == {Fate.WRITTEN: COUNT}
    return folder / "out", known


def files_of(out: Path) -> list[Path]:
    return sorted(out.rglob("*.dcm"))


def read(path: Path) -> Radiograph:
    outcome = read_file(path, image_size=32, policy=ReadPolicy())
    assert isinstance(outcome, Radiograph), outcome
    return outcome


def labels_of(out: Path) -> dict[str, dict[str, str]]:
    rows = [
        row
        for path in out.rglob("labels.csv")
        for row in csv.DictReader(path.read_text().splitlines())
    ]
    return {row["study_instance_uid"]: row for row in rows}


def test_every_radiograph_is_read_with_what_the_set_says_of_it(
    imported: tuple[Path, dict[str, Known]],
) -> None:
    out, known = imported
    found = {}
    for path in files_of(out):
        radiograph = read(path)
        assert radiograph.identity.issuer in SETS  # so that two sets never share a patient
        found[radiograph.identity.patient_id] = radiograph.metadata
    assert found.keys() == known.keys()
    for patient, metadata in found.items():
        expected = known[patient]
        assert (metadata.view, metadata.sex) == (expected.view, expected.sex)
        assert metadata.age == pytest.approx(expected.age, abs=1e-3)
        assert metadata.manufacturer == expected.manufacturer


def test_not_a_grey_level_is_lost(imported: tuple[Path, dict[str, Known]]) -> None:
    out, known = imported
    for path in files_of(out):
        radiograph = dcmread(path)
        frame = decode_frame(radiograph, max_pixels=10**6)
        stored = frame.values[frame.patterns]
        np.testing.assert_array_equal(stored, known[radiograph.PatientID].pixels)


def test_labels_name_the_studies_of_the_files_in_the_schema_of_the_hospital(
    imported: tuple[Path, dict[str, Known]],
) -> None:
    out, known = imported
    rows = labels_of(out)
    assert len(rows) == COUNT
    for path in files_of(out):
        identity = read(path).identity
        row = rows[identity.study_uid]
        assert list(row) == ["study_instance_uid", *FINDINGS]
        expected = known[identity.patient_id].findings
        assert {name: row[name] for name in expected} == expected
        assert set(row.values()) - {identity.study_uid} <= {*CODES, "unknown"}


def test_no_patient_is_in_two_places_and_the_simulation_names_every_place(
    imported: tuple[Path, dict[str, Known]],
) -> None:
    out, known = imported
    plan = load_simulation(out / "simulation.yaml")
    places = [
        each for each in (*plan.sites, plan.held_out) if isinstance(each, FolderSite | FolderSet)
    ]
    patients = [
        {read(path).identity.patient_id for path in files_of(place.data_path)} for place in places
    ]
    assert [len(each) for each in patients] == [2, 2, 2]
    assert set.union(*patients) == known.keys()
    assert all(place.labels_path.is_file() for place in places)


def test_two_pictures_of_one_examination_share_its_row_in_the_labels(tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    rexgradient(source)
    table = source / "metadata" / "train_metadata_view_position.json"
    studies = json.loads(table.read_text())
    first = next(iter(studies.values()))
    first["ImagePath"].append(first["ImagePath"][0].replace("1.3.0.png", "1.3.9.png"))
    first["ImageViewPosition"].append("LATERAL")
    png(source / "metadata" / first["ImagePath"][1], PHANTOMS[1])
    table.write_text(json.dumps(studies))
    plan = ImportPlan(public_set=SETS["rexgradient"], source=source, partition=PARTITION)
    import_set(plan, out, on_progress=lambda _done, _total: None)
    pair = [read(path) for path in files_of(out) if path.parent.name == "GRDNP0"]
    assert {each.metadata.view for each in pair} == {"PA", "LATERAL"}
    assert len({each.identity.study_uid for each in pair}) == 1
    assert len({each.identity.instance_uid for each in pair}) == 2
    rows = [row for path in out.rglob("labels.csv") for row in path.read_text().splitlines()[1:]]
    assert len(rows) == COUNT


def test_pictures_that_a_set_squeezed_get_back_their_shape(tmp_path: Path) -> None:
    nih(tmp_path / "source")
    plan = ImportPlan(public_set=SETS["nih"], source=tmp_path / "source", partition=PARTITION)
    import_set(plan, tmp_path / "out", on_progress=lambda _done, _total: None)
    for path in files_of(tmp_path / "out"):
        image = read(path).image
        assert (image[:3] == 0).all()  # 2500 wide, 2000 high: a wide chest, black above and below
        assert (image[-3:] == 0).all()


@pytest.mark.parametrize("name", SETS)
def test_a_folder_that_is_not_the_set_is_told_what_is_missing(name: str, tmp_path: Path) -> None:
    with pytest.raises(WrongFolder, match=r"there is no .*\. Name the folder that holds "):
        next(SETS[name].records(tmp_path))


def test_a_table_without_its_pictures_is_told_so(tmp_path: Path) -> None:
    nih(tmp_path)
    for folder in tmp_path.glob("images_*"):
        folder.rename(tmp_path / f"moved_{folder.name}")
    with pytest.raises(WrongFolder, match="there is no images folder"):
        next(SETS["nih"].records(tmp_path))
