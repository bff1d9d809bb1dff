"""The bytes of a file of unknown content -> its parsed data set, within bounds of size and time."""

import os
import stat
import zlib
from io import BytesIO
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian

from client.dicom.header import DAMAGED_FILE_ERRORS
from client.dicom.rejection import Reason, Refused

_PREAMBLE_BYTES = 128
_META_HEADER_BYTES = 4096


def parse_file(path: Path, *, max_bytes: int) -> Dataset:
    """Parse a regular DICOM file; values are only converted when they are asked for.

    Args:
        path: the file.
        max_bytes: limit for the file, and for what it may inflate to.

    Raises:
        Refused: no DICOM file, too large, or damaged.
        OSError: it cannot be opened.
    """
    content = _read_bytes(path, max_bytes)
    _check_inflated_size(content, max_bytes)
    try:
        return dcmread(BytesIO(content))
    except DAMAGED_FILE_ERRORS as error:
        raise Refused(Reason.UNREADABLE) from error


def _read_bytes(path: Path, max_bytes: int) -> bytes:
    """Read a regular file of bearable size at once, so that it cannot change between check and use."""
    # Without O_NONBLOCK a named pipe would wait for ever; O_NOFOLLOW keeps links from leading elsewhere.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise Refused(Reason.NOT_DICOM)
        if status.st_size > max_bytes:
            raise Refused(Reason.TOO_LARGE)
        content = file.read(status.st_size)
    if content[_PREAMBLE_BYTES : _PREAMBLE_BYTES + 4] != b"DICM":
        raise Refused(Reason.NOT_DICOM)
    return content


def _check_inflated_size(content: bytes, max_bytes: int) -> None:
    """Refuse a deflated file that inflates without bearable end, which pydicom would follow."""
    if DeflatedExplicitVRLittleEndian.encode() not in content[:_META_HEADER_BYTES]:
        return
    # Group 0002 starts after the magic with its own length: 4 bytes tag, 2 type, 2 size, 4 value.
    length = int.from_bytes(content[_PREAMBLE_BYTES + 12 : _PREAMBLE_BYTES + 16], "little")
    body = content[_PREAMBLE_BYTES + 16 + length :]
    inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(body, max_bytes + 1)
    if len(inflated) > max_bytes:
        raise Refused(Reason.TOO_LARGE)
