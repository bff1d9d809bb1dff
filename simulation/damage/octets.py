"""Damage to the bytes of a file, whatever they mean: what disks, networks and hurried software do."""

import re
from collections.abc import Callable

import numpy as np

Chance = np.random.Generator
Damage = Callable[[bytes, Chance], bytes]

_BODY = 132
"""Bytes of preamble and magic word, which are left alone: without them nothing further is looked at."""
_HEADER_BYTES = 4000
_TYPES = b"AE AS AT CS DA DS DT FL FD IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV"
_ELEMENT = re.compile(rb"[\s\S]{4}(" + _TYPES.replace(b" ", b"|") + rb")[\s\S]{2}")
_LENGTHS = (0, 1, 2, 7, 0x7FFF, 0xFFFE, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)
_ITEM, _ITEM_END, _SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0", b"\xfe\xff\xdd\xe0"
# Frame headers of JPEG (baseline, extended, lossless), JPEG-LS and JPEG 2000: dimensions follow.
_FRAME_HEADERS = re.compile(rb"\xff[\xc0\xc1\xc3\xf7\x51\x52\x5c\xda]")


def flip(content: bytes, chance: Chance) -> bytes:
    """Change some bytes anywhere."""
    return _flipped(content, chance, 0, len(content))


def flip_header(content: bytes, chance: Chance) -> bytes:
    """Change some bytes near the beginning, where they mean most."""
    return _flipped(content, chance, _BODY, _HEADER_BYTES)


def flip_pixels(content: bytes, chance: Chance) -> bytes:
    """Change some bytes of the pixels, at whose beginning decoders read what they are to expect."""
    start = _pixels(content)
    return _flipped(content, chance, start, start + int(chance.choice([64, 300, 10**6])))


def cut(content: bytes, chance: Chance) -> bytes:
    """End anywhere."""
    return content[: _place(content, chance)]


def lengthen(content: bytes, chance: Chance) -> bytes:
    """Go on after the end."""
    return content + chance.bytes(int(chance.integers(1, 5000)))


def remove(content: bytes, chance: Chance) -> bytes:
    """Leave a stretch out."""
    start, end = _stretch(content, chance)
    return content[:start] + content[end:]


def repeat(content: bytes, chance: Chance) -> bytes:
    """Say a stretch twice."""
    start, end = _stretch(content, chance)
    return content[:end] + content[start:]


def swap(content: bytes, chance: Chance) -> bytes:
    """Exchange two neighbouring stretches, mostly whole elements: their order is then wrong."""
    start, end = _stretch(content, chance)
    after = min(len(content), 2 * end - start)
    return content[:start] + content[end:after] + content[start:end] + content[after:]


def change_length(content: bytes, chance: Chance) -> bytes:
    """Have an element, or a fragment of the pixels, claim another length."""
    start, _ = _stretch(content, chance)
    length = int(chance.choice(_LENGTHS)).to_bytes(4, "little")
    if chance.random() < 0.5:
        return content[: start + 6] + length[:2] + content[start + 8 :]
    return content[: start + 8] + length + content[start + 12 :]


def change_type(content: bytes, chance: Chance) -> bytes:
    """Have an element claim another type of value."""
    start, _ = _stretch(content, chance)
    claimed = _TYPES.split()[chance.integers(len(_TYPES.split()))]
    return content[: start + 4] + claimed + content[start + 6 :]


def change_fragments(content: bytes, chance: Chance) -> bytes:
    """Break the frame of items around compressed pixels."""
    start = _pixels(content)
    old, new = chance.permutation([_ITEM, _ITEM_END, _SEQUENCE_END, b"\0\0\0\0", b""])[:2]
    head, tail = content[:start], content[start:]
    return head + tail.replace(bytes(old) or _ITEM, bytes(new), int(chance.integers(1, 4)))


def change_frame_header(content: bytes, chance: Chance) -> bytes:
    """Have the compressed stream claim other dimensions, depths or tables than it has."""
    start = _pixels(content)
    found = [match.start() for match in _FRAME_HEADERS.finditer(content, start)]
    if not found:
        return content
    place = found[int(chance.integers(min(len(found), 6)))] + int(chance.integers(2, 40))
    value = bytes(chance.choice([0, 1, 0x7F, 0x80, 0xFF], size=int(chance.integers(1, 5))).tolist())
    return content[:place] + value + content[place + len(value) :]


ALL: tuple[Damage, ...] = (
    flip,
    flip_header,
    flip_pixels,
    cut,
    lengthen,
    remove,
    repeat,
    swap,
    change_length,
    change_type,
    change_fragments,
    change_frame_header,
)


def _flipped(content: bytes, chance: Chance, start: int, end: int) -> bytes:
    changed = bytearray(content)
    end = min(end, len(content))
    if start < end:
        for _ in range(chance.integers(1, 41)):
            changed[chance.integers(start, end)] = chance.integers(256)
    return bytes(changed)


def _place(content: bytes, chance: Chance) -> int:
    return int(chance.integers(min(_BODY, len(content)), len(content) + 1))


def _stretch(content: bytes, chance: Chance) -> tuple[int, int]:
    """Where an element and the next one begin, as far as types are written; else any two places."""
    places = [match.start() for match in _ELEMENT.finditer(content, _BODY, _HEADER_BYTES)]
    if len(places) < 2 or chance.random() < 0.2:
        first, second = sorted((_place(content, chance), _place(content, chance)))
        return first, min(second, first + _HEADER_BYTES)
    index = int(chance.integers(len(places) - 1))
    return places[index], places[index + 1]


def _pixels(content: bytes) -> int:
    """Where pixel data probably begin."""
    found = max(content.rfind(b"\xe0\x7f\x10\x00"), content.rfind(b"\x7f\xe0\x00\x10"))
    return found if found > 0 else min(len(content), _HEADER_BYTES)
