"""Radiographs of chests that do not exist, as files of public sets, with what must come out of each."""

import csv
import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from io import StringIO
from pathlib import Path

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import dcmwrite

from simulation.dicom_writer import Machine, Study, build_radiograph
from simulation.phantom import Phantom
from simulation.style import STYLES

SIZE, COUNT = 64, 6

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


@cache
def brightness(number: int) -> NDArray[np.floating]:
    """Another chest for every number, in [0, 1]; drawn once."""
    return Phantom(SIZE).render(
        findings=frozenset(),
        patient_seed=number,
        study_seed=1,
        sex="F",
        age=50.0,
        view="PA",
        style=STYLES["plain"],
    )


def phantom(number: int, bits: int = 8) -> Pixels:
    """The grey levels of a chest."""
    values = np.rint(brightness(number) * (2**bits - 1))
    return np.asarray(values, np.uint8 if bits == 8 else np.uint16)


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
    content = imagecodecs.jpeg8_encode(phantom(number), level=95)
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
    radiograph = build_radiograph(phantom(number) / 255.0, machine, study)
    path.parent.mkdir(parents=True, exist_ok=True)
    dcmwrite(path, radiograph, enforce_file_format=True)
    return np.asarray(radiograph.pixel_array)
