"""TensorBoard's event files, written without TensorBoard: records with checksums, each a small protobuf message.

The frame is TFRecord (length, masked CRC-32C of the length, content, masked CRC-32C of the content); the messages are
`tensorflow.Event` with `Summary` and one `simple_value` a tag, of which a dozen bytes of encoding are all that is needed.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

VERSION = b"brain.Event:2"
_POLYNOMIAL = 0x82F63B78
_MASK = 0xA282EAD8
_WALL_TIME, _STEP, _FILE_VERSION, _SUMMARY = 1, 2, 3, 5
_VALUE, _TAG, _SIMPLE_VALUE = 1, 1, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One value of one curve."""

    tag: str
    step: int
    """From 0."""
    value: float
    seconds: float
    """When, since 1970, UTC."""


def event_file(points: Iterable[Point], *, began: float) -> Iterator[bytes]:
    """The file, piece by piece.

    Args:
        points: in any order.
        began: seconds since 1970 that the file says it was begun.
    """
    yield _record(_double(_WALL_TIME, began) + _string(_FILE_VERSION, VERSION))
    for point in points:
        value = _string(_TAG, point.tag.encode()) + _float(_SIMPLE_VALUE, point.value)
        summary = _string(_VALUE, value)
        yield _record(
            _double(_WALL_TIME, point.seconds)
            + _key(_STEP, _VARINT)
            + _varint(point.step)
            + _string(_SUMMARY, summary)
        )


def crc32c(content: bytes) -> int:
    """Castagnoli's checksum (RFC 3720, appendix B.4)."""
    value = 0xFFFFFFFF
    for byte in content:
        value = _TABLE[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFFFFFF


def _record(content: bytes) -> bytes:
    length = struct.pack("<Q", len(content))
    return length + _masked(length) + content + _masked(content)


def _masked(content: bytes) -> bytes:
    """Rotated and shifted, so that a checksum of data that holds checksums is still worth something."""
    value = crc32c(content)
    rotated = ((value >> 15) | (value << 17)) & 0xFFFFFFFF
    return struct.pack("<I", (rotated + _MASK) & 0xFFFFFFFF)


def _key(number: int, kind: int) -> bytes:
    return _varint(number << 3 | kind)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _double(number: int, value: float) -> bytes:
    return _key(number, _FIXED64) + struct.pack("<d", value)


def _float(number: int, value: float) -> bytes:
    return _key(number, _FIXED32) + struct.pack("<f", value)


def _string(number: int, value: bytes) -> bytes:
    return _key(number, _BYTES) + _varint(len(value)) + value


def _table() -> Iterator[int]:
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ (_POLYNOMIAL if value & 1 else 0)
        yield value


_TABLE = tuple(_table())
