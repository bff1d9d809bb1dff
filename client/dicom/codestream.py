"""What a compressed frame says of itself: read from its first bytes, without decoding anything.

A header that promises 2,000 x 2,000 pixels may carry a codestream of 60,000 x 60,000. Every decoder would
follow it and take the memory for it, so the two are compared before one is called.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from struct import unpack_from

from client.dicom.layout import Layout
from client.dicom.rejection import Reason, Refused

_END = b"\xff\xd9"
_FILLING = b"\x00\xff"
"""What is found behind the end marker, to make lengths even."""
_JPEG_START = b"\xff\xd8"
_J2K_START = b"\xff\x4f\xff\x51"
_JP2_START = b"\x00\x00\x00\x0cjP  "
_SCAN = 0xDA
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}

BASELINE, EXTENDED, PROGRESSIVE, LOSSLESS, JPEG_LS = 0xC0, 0xC1, 0xC2, 0xC3, 0xF7
"""Kinds of JPEG frame, by the marker that starts them (T.81 table B.1, T.87 C.1)."""
JPEG_2000 = 0x51
_FRAMES = {*range(0xC0, 0xD0), JPEG_LS} - {0xC4, 0xC8, 0xCC}
_RESTART_INTERVAL = 0xDD


@dataclass(frozen=True, kw_only=True, slots=True)
class Codestream:
    """One compressed picture and what it promises."""

    data: bytes
    """From the start marker to the end marker."""
    process: int
    """Marker that tells the kind of compression."""
    rows: int
    columns: int
    components: int
    precision: int
    """Bits per value."""
    restarts: bool = False
    """Whether the data are divided into intervals that are decoded independently of each other."""

    def check_against(self, layout: Layout) -> None:
        """Refuse a codestream that is not the picture which the header promises.

        Precision may be more than the stored bits (12 bits sent as 16), and less in files whose header
        states the allocated bits; but 8 bits under a header of more are another picture than its windows
        were made for.
        """
        if (self.rows, self.columns) != (layout.rows, layout.columns):
            raise Refused(Reason.BAD_GEOMETRY)
        fits = self.precision <= layout.bits_allocated
        lost = self.precision <= 8 < layout.bits_stored
        if self.components != layout.samples or not fits or lost:
            raise Refused(Reason.DECODE_FAILED)


def read_codestream(frame: bytes) -> Codestream:
    """Parse the start of a JPEG, JPEG-LS or JPEG 2000 codestream.

    Raises:
        Refused: it does not begin or end as such a codestream does.
        struct.error: it ends within its header.
    """
    frame = frame.rstrip(_FILLING)
    if frame.startswith(_JP2_START):
        frame = frame[max(frame.find(_J2K_START), 0) :]
    if not frame.endswith(_END):
        raise Refused(Reason.DECODE_FAILED)  # cut off: several decoders would make up the rest
    if frame.startswith(_J2K_START):
        return _read_jpeg2000(frame)
    if frame.startswith(_JPEG_START):
        return _read_jpeg(frame)
    raise Refused(Reason.DECODE_FAILED)


def _read_jpeg(data: bytes) -> Codestream:
    restarts, frame = False, None
    for marker, start in _segments(data):
        if marker == _RESTART_INTERVAL:
            restarts = unpack_from(">H", data, start)[0] > 0
        elif marker in _FRAMES and frame is not None:
            raise Refused(Reason.DECODE_FAILED)  # two frames: hierarchical, or one file in another
        elif marker in _FRAMES:
            frame = marker, *unpack_from(">BHHB", data, start)
    if frame is None:
        raise Refused(Reason.DECODE_FAILED)
    process, precision, rows, columns, components = frame
    return Codestream(
        data=data,
        process=process,
        rows=rows,
        columns=columns,
        components=components,
        precision=precision,
        restarts=restarts,
    )


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Markers before the first scan, each with the place where its content starts."""
    position = len(_JPEG_START)
    while True:
        prefix, marker, length = unpack_from(">BBH", data, position)
        if prefix != 0xFF or (length < 2 and marker not in _WITHOUT_LENGTH):
            raise Refused(Reason.DECODE_FAILED)
        if marker == _SCAN:
            return
        if marker == 0xFF:  # filling before a marker
            position += 1
        elif marker in _WITHOUT_LENGTH:
            position += 2
        else:
            yield marker, position + 4
            position += 2 + length


def _read_jpeg2000(data: bytes) -> Codestream:
    """Read the SIZ segment (T.800 A.5.1)."""
    right, bottom, left, top = unpack_from(">4L", data, 8)
    components, depth, *steps = unpack_from(">HBBB", data, 40)
    if steps != [1, 1]:
        raise Refused(Reason.DECODE_FAILED)
    return Codestream(
        data=data,
        process=JPEG_2000,
        rows=bottom - top,
        columns=right - left,
        components=components,
        precision=(depth & 0x7F) + 1,
    )
