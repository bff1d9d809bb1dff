"""The rubbish of a real archive: files that no reader may use and none may stumble over."""

from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path

from pydicom import dcmread, dcmwrite
from pydicom.uid import UID

_UID_OF_RUBBISH = "2.25.1"

Break = Callable[[Path, Path], None]
"""Makes the second file, a broken one, from the first, a good one."""


def write_broken_files(folder: Path, good: Path, *, num_files: int) -> int:
    """Write broken files made from a good one, one kind after the other, and return how many."""
    target = folder / "other"
    target.mkdir(parents=True, exist_ok=True)
    for number, make in enumerate(islice(cycle(_KINDS), num_files)):
        make(good, target / f"{number:03d}.dcm")
    return num_files


def _truncated(good: Path, broken: Path) -> None:
    content = good.read_bytes()
    broken.write_bytes(content[: len(content) * 2 // 3])


def _text(_: Path, broken: Path) -> None:
    broken.write_text("This is a note that somebody saved under the wrong name.\n" * 5)


def _wrong_body_part(good: Path, broken: Path) -> None:
    radiograph = dcmread(good)
    radiograph.BodyPartExamined = "HAND"
    radiograph.StudyDescription = "XR HAND"
    radiograph.SeriesDescription = "HAND PA"
    if "AnatomicRegionSequence" in radiograph:
        region = radiograph.AnatomicRegionSequence[0]
        region.CodeValue, region.CodeMeaning = "85562004", "Hand"
    radiograph.SOPInstanceUID = UID(_UID_OF_RUBBISH)
    radiograph.file_meta.MediaStorageSOPInstanceUID = UID(_UID_OF_RUBBISH)
    dcmwrite(broken, radiograph, enforce_file_format=True)


def _empty(_: Path, broken: Path) -> None:
    broken.touch()


def _duplicate(good: Path, broken: Path) -> None:
    broken.write_bytes(good.read_bytes())


def _without_pixels(good: Path, broken: Path) -> None:
    radiograph = dcmread(good)
    del radiograph.PixelData
    radiograph.save_as(broken)


_KINDS: tuple[Break, ...] = (
    _truncated,
    _text,
    _wrong_body_part,
    _empty,
    _duplicate,
    _without_pixels,
)
