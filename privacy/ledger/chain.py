"""A file of records that can only grow, in which every line vouches for all lines before it.

A line is one JSON object: the record's number, the record, and a SHA-256 of both and of the digest before it. A line
that is changed, moved, put in or taken out breaks the chain. Lines cut off at the end do not; who kept an earlier
head outside the file notices (`witness.py`).

A process that is killed while it writes leaves the beginning of a line. Nothing relied on that line, since it was not
yet on the disk for certain, so it is dropped. A line that lacks nothing but its end counts.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

Record = Mapping[str, object]
"""Anything that JSON can hold, without NaN or infinity."""

NO_DIGEST = "0" * 64
"""What stands for a digest before the first record."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """Names a state of a chain: no other content has the same."""

    count: int
    """Number of records."""
    digest: str
    """SHA-256 of all of them, in hex."""


class ChainDamaged(RuntimeError):
    """A chain that is not as it was written."""

    def __init__(self, path: Path, number: int) -> None:
        super().__init__(
            f"{path} is damaged at record {number}: somebody or a failing disk changed it. Nothing is done that it would "
            "have to record: the data-protection officer finds out what happened and restores its newest copy"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Chain:
    """What a file holds."""

    records: tuple[Record, ...] = ()
    digests: tuple[str, ...] = ()
    """After each record."""
    num_bytes: int = 0
    """Of all whole lines."""
    torn: bool = False
    """Whether the file ends in the beginning of a line, which a killed or still writing process left."""
    unended: bool = False
    """Whether the last line lacks its end alone."""

    @property
    def head(self) -> Head:
        """Names the whole chain."""
        return Head(count=len(self.digests), digest=self.digests[-1] if self.digests else NO_DIGEST)

    def holds(self, head: Head) -> bool:
        """Whether the chain has passed through this state."""
        if head.count == 0:
            return head.digest == NO_DIGEST
        return 0 < head.count <= len(self.digests) and self.digests[head.count - 1] == head.digest

    def grown_by(self, record: Record) -> "tuple[Chain, bytes]":
        """The chain with one more record, and the line that makes it so."""
        line, digest = _line(self.head, record)
        chain = Chain(
            records=(*self.records, record),
            digests=(*self.digests, digest),
            num_bytes=self.num_bytes + len(line),
        )
        return chain, line


def read_chain(path: Path) -> Chain:
    """What a file holds now, also while another process writes to it.

    Raises:
        ChainDamaged: it is not what was written.
    """
    return parse_chain(path.read_bytes(), path)


def parse_chain(content: bytes, path: Path) -> Chain:
    """The content of a file as a chain; the path is for complaints.

    Raises:
        ChainDamaged: it is not what was written.
    """
    *lines, tail = content.split(b"\n")
    records: list[Record] = []
    digests: list[str] = []
    for number, line in enumerate(lines, start=1):
        digest = _append_line(records, digests, line)
        if digest is None:
            raise ChainDamaged(path, number)
    num_bytes = len(content) - len(tail)
    unended = bool(tail) and _append_line(records, digests, tail) is not None
    if tail and not unended and _begins_with_object(tail):
        raise ChainDamaged(path, len(lines) + 1)  # a whole line, but not one that was written
    return Chain(
        records=tuple(records),
        digests=tuple(digests),
        num_bytes=len(content) if unended else num_bytes,
        torn=bool(tail) and not unended,
        unended=unended,
    )


def _append_line(records: list[Record], digests: list[str], line: bytes) -> str | None:
    """The digest of a line that is, to the byte, what would be written of its record; else None."""
    head = Head(count=len(digests), digest=digests[-1] if digests else NO_DIGEST)
    try:
        record = json.loads(line)["record"]
        expected, digest = _line(head, record)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if line + b"\n" != expected or not isinstance(record, dict):
        return None
    records.append(record)
    digests.append(digest)
    return digest


def _line(head: Head, record: Record) -> tuple[bytes, str]:
    """How the next record is written, and the digest after it."""
    sealed = {"number": head.count + 1, "record": record}
    digest = hashlib.sha256(f"{head.digest}\n{_json(sealed)}".encode()).hexdigest()
    return f"{_json(sealed | {'digest': digest})}\n".encode(), digest


def _json(content: object) -> str:
    """One spelling per content."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _begins_with_object(tail: bytes) -> bool:
    """Whether something follows a whole JSON object; the beginning of one is no whole one."""
    try:
        json.JSONDecoder().raw_decode(tail.decode("ascii", errors="replace"))
    except (ValueError, RecursionError):
        return False
    return True
