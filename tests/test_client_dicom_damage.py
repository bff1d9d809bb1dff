"""A damaged or lying file is refused, and never read as if it were whole."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import FileDataset, dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    MPEG4HP41,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from client.dicom.outcome import Outcome, Radiograph
from client.dicom.policy import ReadPolicy
from client.dicom.reader import read_file
from client.dicom.rejection import Reason, Rejection

Build = Callable[..., FileDataset]
Save = Callable[..., Path]

JPEG = [JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1]
JPEG_2000 = [JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2K]
WITH_END_MARKER = [*JPEG, JPEGLSLossless, JPEGLSNearLossless, *JPEG_2000]
COMPRESSED = [RLELossless, *WITH_END_MARKER]
END = b"\xff\xd9"


def read(path: Path, policy: ReadPolicy | None = None) -> Outcome:
    return read_file(path, image_size=64, policy=policy or ReadPolicy())


def compressed(radiograph_of: Build, saved: Save, syntax: UID) -> Path:
    return saved(radiograph_of(bits=8 if syntax == JPEGBaseline8Bit else 12), syntax)


def frame_of(path: Path) -> bytes:
    return next(generate_frames(dcmread(path).PixelData, number_of_frames=1)).rstrip(b"\0")


def put_frame(path: Path, frame: bytes) -> None:
    file = dcmread(path)
    file.PixelData = encapsulate([frame])
    file["PixelData"].is_undefined_length = True
    file.save_as(path)


class Decoded(BaseException):
    """Gets through the reader, which turns every ordinary error of a decoder into a refusal."""


def _must_not_decode(*_: object, **__: object) -> None:
    raise Decoded


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, *COMPRESSED]
)
def test_a_cut_file_is_refused(radiograph_of: Build, saved: Save, syntax: UID) -> None:
    path = compressed(radiograph_of, saved, syntax)
    content = path.read_bytes()
    for share in (0.05, 0.3, 0.5, 0.9):
        path.write_bytes(content[: int(len(content) * share)])
        assert isinstance(read(path), Rejection)


@pytest.mark.parametrize("syntax", COMPRESSED)
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_cut_frame_in_a_whole_file_is_refused(
    radiograph_of: Build, saved: Save, syntax: UID, share: float
) -> None:
    path = compressed(radiograph_of, saved, syntax)
    frame = frame_of(path)
    put_frame(path, frame[: int(len(frame) * share)])
    assert read(path) == Rejection(reason=Reason.DECODE_FAILED)


@pytest.mark.parametrize("syntax", WITH_END_MARKER)
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_cut_frame_is_refused_even_with_its_end_marker(
    radiograph_of: Build, saved: Save, syntax: UID, share: float
) -> None:
    path = compressed(radiograph_of, saved, syntax)
    frame = frame_of(path)
    put_frame(path, frame[: int(len(frame) * share)] + END)
    assert read(path) == Rejection(reason=Reason.DECODE_FAILED)


@pytest.mark.parametrize("syntax", [*JPEG, JPEGLSLossless])
def test_a_block_of_zeros_in_the_middle_is_refused(
    radiograph_of: Build, saved: Save, chest: NDArray[np.floating], syntax: UID
) -> None:
    large = np.tile(chest, (3, 3))
    bits = 8 if syntax == JPEGBaseline8Bit else 12
    path = saved(radiograph_of(large, bits=bits), syntax)
    frame = frame_of(path)
    start = len(frame) // 2
    put_frame(path, frame[:start] + bytes(512) + frame[start + 512 :])
    assert read(path) == Rejection(reason=Reason.DECODE_FAILED)


@pytest.mark.parametrize("syntax", JPEG)
def test_a_whole_jpeg_is_read_wherever_its_last_bits_lie(
    radiograph_of: Build, saved: Save, syntax: UID
) -> None:
    bits = 8 if syntax == JPEGBaseline8Bit else 12
    chance = np.random.default_rng(5)
    for _ in range(12):
        noise = chance.random((33 + chance.integers(40), 40))
        noise[-8:, -8:] *= chance.integers(2)  # a black corner hides what goes on below black
        path = saved(radiograph_of(noise, bits=bits), syntax)
        assert isinstance(read(path), Radiograph)


@pytest.mark.parametrize("syntax", WITH_END_MARKER)
def test_a_frame_without_its_end_marker_is_refused_undecoded(
    radiograph_of: Build, saved: Save, syntax: UID, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = compressed(radiograph_of, saved, syntax)
    put_frame(path, frame_of(path)[:-2])
    for codec in ("jpeg8", "jpegls", "jpeg2k"):
        monkeypatch.setattr(f"imagecodecs.{codec}_decode", _must_not_decode)
    assert read(path) == Rejection(reason=Reason.DECODE_FAILED)


@pytest.mark.parametrize("syntax", WITH_END_MARKER)
@pytest.mark.parametrize("filling", [b"\xff", b"\0\0\0"])
def test_filling_behind_the_end_marker_does_no_harm(
    radiograph_of: Build, saved: Save, syntax: UID, filling: bytes
) -> None:
    path = compressed(radiograph_of, saved, syntax)
    put_frame(path, frame_of(path) + filling)
    assert isinstance(read(path), Radiograph)


@pytest.mark.parametrize("syntax", JPEG)
def test_a_jpeg_filled_up_to_whole_words_is_read(
    radiograph_of: Build, saved: Save, syntax: UID
) -> None:
    path = compressed(radiograph_of, saved, syntax)
    data = frame_of(path).removesuffix(END)
    for filling in (b"\0", b"\0\0\0", b"\xff", b"\xff\xff\xff"):
        put_frame(path, data + filling + END)
        assert isinstance(read(path), Radiograph)


def with_dimensions(frame: bytes, syntax: UID, rows: int, columns: int) -> bytes:
    """The frame, lying about its size."""
    if syntax in JPEG_2000:
        return frame[:8] + struct.pack(">2L", columns, rows) + frame[16:]
    position = 2
    while frame[position + 1] not in {0xC0, 0xC1, 0xC3, 0xF7}:
        position += 2 + int.from_bytes(frame[position + 2 : position + 4], "big")
    return frame[: position + 5] + struct.pack(">2H", rows, columns) + frame[position + 9 :]


@pytest.mark.parametrize("syntax", WITH_END_MARKER)
def test_a_codestream_larger_than_its_header_is_refused_undecoded(
    radiograph_of: Build, saved: Save, syntax: UID, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = compressed(radiograph_of, saved, syntax)
    put_frame(path, with_dimensions(frame_of(path), syntax, 60_000, 60_000))
    for codec in ("jpeg8", "jpegls", "jpeg2k"):
        monkeypatch.setattr(f"imagecodecs.{codec}_decode", _must_not_decode)
    assert read(path) == Rejection(reason=Reason.BAD_GEOMETRY)


@pytest.mark.parametrize("syntax", WITH_END_MARKER)
def test_a_header_and_codestream_that_agree_on_too_much_are_refused(
    radiograph_of: Build, saved: Save, syntax: UID
) -> None:
    path = compressed(radiograph_of, saved, syntax)
    put_frame(path, with_dimensions(frame_of(path), syntax, 60_000, 60_000))
    file = dcmread(path)
    file.Rows = file.Columns = 60_000
    file.save_as(path)
    assert read(path) == Rejection(reason=Reason.TOO_LARGE)


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGLossless, JPEGLSLossless, JPEG2000])
def test_a_picture_of_8_bits_under_a_header_of_12_is_refused(
    radiograph_of: Build, saved: Save, syntax: UID
) -> None:
    path = saved(radiograph_of(bits=8), syntax, BitsAllocated=16, BitsStored=12, HighBit=11)
    assert read(path) == Rejection(reason=Reason.DECODE_FAILED)


@pytest.mark.parametrize("syntax", [JPEGLossless, JPEGLSLossless, JPEG2000Lossless])
def test_another_compression_than_the_file_names_is_refused(
    radiograph_of: Build, saved: Save, syntax: UID
) -> None:
    path = saved(radiograph_of(), syntax)
    file = dcmread(path)
    file.file_meta.TransferSyntaxUID = next(s for s in WITH_END_MARKER[2:] if s != syntax)
    if syntax == JPEGLossless:
        file.file_meta.TransferSyntaxUID = JPEGLSLossless
    file.save_as(path)
    assert read(path) == Rejection(reason=Reason.DECODE_FAILED)


def test_run_lengths_that_unpack_to_far_too_much_are_refused(
    radiograph_of: Build, saved: Save
) -> None:
    path = saved(radiograph_of(), RLELossless)
    segment = b"\x81\x00" * 50_000
    header = np.array([2, 64, 64 + len(segment)] + [0] * 13, "<u4").tobytes()
    put_frame(path, header + 2 * segment)
    assert read(path) == Rejection(reason=Reason.DECODE_FAILED)


def test_a_deflated_file_that_inflates_too_far_is_refused(
    radiograph_of: Build, saved: Save
) -> None:
    path = saved(radiograph_of(), DeflatedExplicitVRLittleEndian)
    content = path.read_bytes()
    body = 144 + int.from_bytes(content[140:144], "little")
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    inflated = zlib.decompress(content[body:], -zlib.MAX_WBITS) + bytes(2**22)
    path.write_bytes(content[:body] + packer.compress(inflated) + packer.flush())
    policy = ReadPolicy(max_file_bytes=2**21)
    assert path.stat().st_size < policy.max_file_bytes
    assert read(path, policy) == Rejection(reason=Reason.TOO_LARGE)


@pytest.mark.parametrize("syntax", [MPEG4HP41, "1.2.840.10008.1.2.4.110"])  # film, JPEG XL
def test_a_compression_without_decoder_is_refused(
    radiograph_of: Build, saved: Save, syntax: str
) -> None:
    path = saved(radiograph_of(), JPEGLossless)
    file = dcmread(path)
    file.file_meta.TransferSyntaxUID = MPEG4HP41
    file.save_as(path)
    path.write_bytes(path.read_bytes().replace(MPEG4HP41.encode(), syntax.encode()))
    assert read(path) == Rejection(reason=Reason.NO_DECODER)


def test_a_decoder_that_is_not_installed_is_named_as_the_reason(
    radiograph_of: Build, saved: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(radiograph_of(), JPEGLSLossless)
    monkeypatch.setattr("imagecodecs.JPEGLS.available", False)
    assert read(path) == Rejection(reason=Reason.NO_DECODER)
