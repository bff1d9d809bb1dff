"""No damage makes the reader do anything but give an outcome; `bench/fuzz.py` tries many more cases."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from client.dicom.outcome import Outcome, Radiograph, Report
from client.dicom.policy import ReadPolicy
from client.dicom.reader import read_file
from client.dicom.rejection import Reason, Rejection
from client.guard.pool import read_all
from simulation.damage.damaged import damaged
from simulation.damage.originals import originals

POLICY = ReadPolicy(max_file_bytes=2**20, max_pixels=2**20)
SIZE = 32
BATCH = 100
FATAL = {Reason.READER_DIED, Reason.TOO_SLOW}


@pytest.fixture(scope="module")
def material() -> list[bytes]:
    return originals()


def read(path: Path, content: bytes, seed: int) -> Outcome:
    path.write_bytes(content)
    try:
        return read_file(path, image_size=SIZE, policy=POLICY)
    except BaseException as error:
        raise AssertionError(f"damage number {seed} makes the reader raise") from error


def is_whole(outcome: Outcome) -> bool:
    """Whether a radiograph is a picture that can be trained on, and any other outcome is one at all."""
    if not isinstance(outcome, Radiograph):
        return isinstance(outcome, Report | Rejection)
    image, age = outcome.image, outcome.metadata.age
    picture = image.shape == (SIZE, SIZE) and image.dtype == np.uint16 and image.max() > image.min()
    return picture and (age is None or 0 <= age <= 150)


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(6))
def test_no_damage_makes_the_reader_raise_or_talk(
    batch: int,
    material: list[bytes],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    cases = [(seed, damaged(material, seed)) for seed in range(BATCH * batch, BATCH * (batch + 1))]
    caplog.set_level(logging.DEBUG)
    caplog.clear()  # of what the making of the cases said
    for seed, content in cases:
        assert is_whole(read(tmp_path / "file", content, seed)), f"damage number {seed}"
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


def test_damage_is_found_at_every_stage(material: list[bytes], tmp_path: Path) -> None:
    cases = [(seed, damaged(material, seed)) for seed in range(1000, 1200)]
    outcomes = [read(tmp_path / "file", content, seed) for seed, content in cases]
    reasons = {outcome.reason for outcome in outcomes if isinstance(outcome, Rejection)}
    assert reasons >= {
        Reason.NOT_DICOM,
        Reason.UNREADABLE,
        Reason.WRONG_KIND,
        Reason.NO_PIXELS,
        Reason.BAD_GEOMETRY,
        Reason.TOO_LARGE,
        Reason.DECODE_FAILED,
    }
    assert sum(isinstance(outcome, Radiograph) for outcome in outcomes) > 10


def test_the_same_number_gives_the_same_damage(material: list[bytes]) -> None:
    again = originals()
    assert [damaged(again, seed) for seed in range(40)] == [
        damaged(material, seed) for seed in range(40)
    ]


def test_no_damage_harms_a_worker(material: list[bytes], tmp_path: Path) -> None:
    def jobs() -> Iterator[tuple[int, Path]]:
        for seed in range(2000, 2060):
            path = tmp_path / str(seed)
            path.write_bytes(damaged(material, seed))
            yield seed, path

    found = dict(read_all(jobs(), image_size=SIZE, policy=POLICY))
    assert sorted(found) == list(range(2000, 2060))
    for seed, outcome in found.items():
        assert is_whole(outcome), f"damage number {seed}"
        fatal = isinstance(outcome, Rejection) and outcome.reason in FATAL
        assert not fatal, f"damage number {seed}"
