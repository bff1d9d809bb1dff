"""Which bytes a caller asks for, or says that it brings (RFC 9110, section 14; single ranges in bytes only)."""

import re
from dataclasses import dataclass

_RANGE = re.compile(r"bytes=([0-9]{1,15})-([0-9]{1,15})?")
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,15})-([0-9]{1,15})/([0-9]{1,15})")


class OutOfRange(ValueError):
    """No such bytes, or no such way to write them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """Bytes of a shard, from ``first`` to one before ``end``."""

    first: int
    end: int

    @property
    def length(self) -> int:
        """Number of bytes."""
        return self.end - self.first


def asked_span(header: str | None, size: int) -> Span:
    """What a ``Range`` header asks for of so many bytes; all of them if there is none.

    Raises:
        OutOfRange: if it is malformed or begins at or after the end.
    """
    if header is None:
        return Span(first=0, end=size)
    found = _RANGE.fullmatch(header)
    if not found:
        raise OutOfRange
    first = int(found[1])
    last = min(int(found[2]), size - 1) if found[2] else size - 1
    if first > last:
        raise OutOfRange
    return Span(first=first, end=last + 1)


def brought_span(header: str) -> tuple[Span, int]:
    """What a ``Content-Range`` header says is in the body, and of how many bytes in total.

    Raises:
        OutOfRange: if it is malformed, empty, or goes beyond its own total.
    """
    found = _CONTENT_RANGE.fullmatch(header)
    if not found:
        raise OutOfRange
    first, last, total = (int(number) for number in found.groups())
    if not first <= last < total:
        raise OutOfRange
    return Span(first=first, end=last + 1), total
