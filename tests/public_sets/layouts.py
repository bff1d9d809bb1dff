"""How each public set lies on a disk after its download: folders, tables, labels, and the pictures' encodings."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.public_sets.radiographs import (
    COUNT,
    Known,
    dicom,
    jpeg,
    phantom,
    png,
    put,
    write_table,
)


def nih(folder: Path) -> dict[str, Known]:
    known, rows = {}, []
    for number in range(COUNT):
        name, ill = f"{number + 1:08d}_000.png", number % 2 == 0
        grey = phantom(number)
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
            pixels=png(picture, phantom(number)),
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
            pixels=png(folder / "images" / "0" / name, phantom(number, bits=16)),
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
            pixels=png(folder / png_path, phantom(number, bits=16)),
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
            pixels=png(folder / "deid_png" / place, phantom(number)),
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
