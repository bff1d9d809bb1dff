"""Reading one element of an untrusted DICOM header: a value of the asked kind, or nothing."""

import math
import re
import struct
import zlib

from pydicom import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

# pydicom converts values when they are read, and on hostile bytes nearly every built-in error has been
# seen (fuzzing: ValueError, TypeError, KeyError, AttributeError, struct.error, NotImplementedError,
# OverflowError, RecursionError, EOFError ...). This is the list that means "the file is damaged".
DAMAGED_FILE_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    BytesLengthException,
    EOFError,
    InvalidDicomError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    StopIteration,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


def value_of(header: Dataset, keyword: str) -> object:
    """The element's value, or None when it is missing, empty or malformed."""
    try:
        value = header.get(keyword)
    except DAMAGED_FILE_ERRORS:
        return None
    return None if value is None or value == "" else value


def values_of(header: Dataset, keyword: str) -> list[object]:
    """The element's values as a list, empty when it is missing or malformed."""
    value = value_of(header, keyword)
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple | MultiValue | Sequence) else [value]


def identifier(header: Dataset, keyword: str) -> str:
    """The element as it stands, without surrounding blanks: for identifiers only."""
    value = value_of(header, keyword)
    return "" if value is None else str(value).strip(" \0")


def words(header: Dataset, keyword: str) -> str:
    """The element as words; empty when it is missing or malformed."""
    return as_words(identifier(header, keyword))


def as_words(text: str) -> str:
    """Upper-case words with single blanks between them, so that `Port. chest` is `PORT CHEST`."""
    return re.sub(r"[^A-Z0-9]+", " ", text.upper()).strip()


def transfer_syntax(header: Dataset) -> str:
    """UID of the way in which the file's data set is written."""
    return identifier(getattr(header, "file_meta", Dataset()), "TransferSyntaxUID")


def numbers(header: Dataset, keyword: str) -> list[float]:
    """All values as finite floats; empty if any of them is not one."""
    try:
        found = [
            float(str(value).strip().replace(",", ".")) for value in values_of(header, keyword)
        ]
    except ValueError:
        return []
    return found if all(math.isfinite(value) for value in found) else []


def number(header: Dataset, keyword: str) -> float | None:
    """The first value as a finite float, or None."""
    found = numbers(header, keyword)
    return found[0] if found else None


def whole_number(header: Dataset, keyword: str, *, default: int) -> int:
    """The first value as an integer, or the default."""
    found = number(header, keyword)
    return default if found is None else int(found)


def items(header: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence; empty when it is missing or malformed."""
    return [item for item in values_of(header, keyword) if isinstance(item, Dataset)]
