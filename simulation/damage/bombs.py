"""Small files that ask for much: memory, time or depth."""

import re
import struct
import zlib

from pydicom.uid import (
    UID,
    AllTransferSyntaxes,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
)

from simulation.damage.octets import Chance

_LENGTH_PLACE = 140
"""Where the length of the file meta information stands; it is counted from behind these four bytes."""
_SYNTAX = re.compile(rb"\x02\x00\x10\x00UI([\s\S]{2})")
_PIXELS = b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff"
_ITEM, _SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0\0\0\0\0"
_NESTED = b"\x08\x00\x15\x11SQ\0\0\xff\xff\xff\xff" + _ITEM + b"\xff\xff\xff\xff"
_MAX_ZEROS = 2**23


def nest(content: bytes, chance: Chance) -> bytes:
    """Open up to 20,000 sequences inside each other before the first element."""
    start = _meta_end(content)
    return content[:start] + _NESTED * int(chance.integers(10, 20_000)) + content[start:]


def crowd(content: bytes, chance: Chance) -> bytes:
    """Go on with up to 50,000 tiny private elements."""
    count = int(chance.integers(1000, 50_000))
    elements = (
        struct.pack("<HH2sHH", 0x7FE1, 0x1000 + n % 0xE000, b"US", 2, n % 65536)
        for n in range(count)
    )
    return content + b"".join(elements)


def inflate(content: bytes, chance: Chance) -> bytes:
    """Deflate the file with up to 8 MiB of zeros behind it, as one element or as a million empty ones."""
    content = _claim(content, DeflatedExplicitVRLittleEndian)
    start = _meta_end(content)
    packer = zlib.compressobj(level=1, wbits=-zlib.MAX_WBITS)
    size = int(chance.integers(_MAX_ZEROS))
    wrapped = struct.pack("<HH4sI", 0x7FE1, 0x1010, b"OB\0\0", size) + bytes(size)
    zeros = wrapped if chance.random() < 0.5 else bytes(size)
    return b"".join(
        (content[:start], packer.compress(content[start:]), packer.compress(zeros), packer.flush())
    )


def run_on(content: bytes, chance: Chance) -> bytes:
    """Have run lengths unpack to up to 64 times their size, in one to four segments."""
    segment = bytes([chance.integers(256), 0]) * int(chance.integers(10, 100_000))
    count = int(chance.integers(1, 5))
    offsets = [64 + number * len(segment) for number in range(count)]
    header = struct.pack("<16I", count, *offsets, *[0] * (15 - count))
    return _with_fragments(_claim(content, RLELossless), [b"", header + segment * count])


def shatter(content: bytes, chance: Chance) -> bytes:
    """Break the pixels into up to 20,000 fragments, mostly empty."""
    sizes = chance.integers(0, 3, size=int(chance.integers(2, 20_000)))
    return _with_fragments(content, [chance.bytes(2 * int(size)) for size in sizes])


def claim(content: bytes, chance: Chance) -> bytes:
    """Claim that the file is in another transfer syntax than it is."""
    syntaxes = [*AllTransferSyntaxes, UID("1.2.3"), UID("")]
    return _claim(content, syntaxes[int(chance.integers(len(syntaxes)))])


ALL = (nest, crowd, inflate, run_on, shatter, claim, claim, claim)


def _with_fragments(content: bytes, fragments: list[bytes]) -> bytes:
    start = content.rfind(_PIXELS[:4])
    head = content[:start] if start > 0 else content
    items = (_ITEM + struct.pack("<I", len(fragment)) + fragment for fragment in fragments)
    return head + _PIXELS + b"".join(items) + _SEQUENCE_END


def _claim(content: bytes, syntax: UID) -> bytes:
    """Put another transfer syntax into the file meta information, if there is one."""
    found = _SYNTAX.search(content, 132)
    if found is None:
        return content
    value = syntax.encode() + b"\0" * (len(syntax) % 2)
    end = found.end() + struct.unpack("<H", found[1])[0]
    length = (_meta_end(content) - _LENGTH_PLACE - 4 + len(value) - (end - found.end())) % 2**32
    return (
        content[:_LENGTH_PLACE]
        + struct.pack("<I", length)
        + content[_LENGTH_PLACE + 4 : found.end() - 2]
        + struct.pack("<H", len(value))
        + value
        + content[end:]
    )


def _meta_end(content: bytes) -> int:
    """Where the elements of the data set begin, as the file says."""
    length = int.from_bytes(content[_LENGTH_PLACE : _LENGTH_PLACE + 4], "little")
    return min(_LENGTH_PLACE + 4 + length, len(content))
