"""The fields of a message, the protocol's number among them, and the checks of each kind of field.

All fields of all parts lie in one record, those of a part behind its name and a dot: Flower stores, signs and sends every
record of a message as an object of its own, in a request of its own.
"""

import re
from collections.abc import Mapping
from typing import TypeGuard

from flwr.app import ConfigRecord, RecordDict

from federation.messages import Refusal, RefusalCode
from federation.protocol import SPOKEN

PROTOCOL = SPOKEN
HEADER = "header"
MAX_WHOLE = 2**53
"""Whole numbers stay below this, which every database and every float can hold."""
MAX_REASON = 500
"""Characters of a hospital's reason that are kept."""
MAX_SHOWN = 20
"""Characters that are shown of what the other side says is its protocol."""
HEX_32_BYTES = re.compile(r"[0-9a-f]{64}")

Fields = Mapping[str, str | bytes | float | bool | list[int] | list[str]]
Header = Mapping[str, object]


class ProtocolMismatch(RuntimeError):
    """The other side speaks another version of these messages."""

    def __init__(self, theirs: object) -> None:
        shown = printable(str(theirs), max_letters=MAX_SHOWN)
        super().__init__(
            f"the other side speaks protocol {shown}, this side speaks {PROTOCOL}: "
            f"install the same release of fedcxr at the coordinator and at every hospital"
        )


class Unreadable(ValueError):
    """A record that no release of this project writes."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the message cannot be read: {what} is missing or malformed")


def with_header(fields: Fields) -> RecordDict:
    """A record that holds these fields."""
    return RecordDict({HEADER: ConfigRecord({"protocol": PROTOCOL, **fields})})


def header_of(record: RecordDict) -> Header:
    """A record's fields.

    Raises:
        ProtocolMismatch: if the other side runs another release.
        Unreadable: if there are none.
    """
    if HEADER not in record.config_records:
        raise Unreadable(HEADER)
    header = {
        name: value for name, value in record.config_records[HEADER].items() if "." not in name
    }
    if header.get("protocol") != PROTOCOL:
        raise ProtocolMismatch(header.get("protocol"))
    return header


def fields_of(record: RecordDict, name: str) -> Header | None:
    """The fields of one part of a record; None if there is no such part."""
    fields: Header = record.config_records.get(HEADER) or {}
    part = {
        key.removeprefix(f"{name}."): value
        for key, value in fields.items()
        if key.startswith(f"{name}.")
    }
    return {key: value for key, value in part.items() if "." not in key} or None


def put_part(record: RecordDict, name: str, fields: Fields) -> None:
    """Lay the fields of one part into an outgoing record."""
    if HEADER not in record:
        record[HEADER] = ConfigRecord()
    for key, value in fields.items():
        record.config_records[HEADER][f"{name}.{key}"] = value


def text(header: Header, name: str) -> str:
    """A field of letters."""
    value = header.get(name)
    if not isinstance(value, str):
        raise Unreadable(name)
    return value


def digest(header: Header, name: str) -> str:
    """A field that is a SHA-256, in 64 hexadecimal digits."""
    value = text(header, name)
    if not HEX_32_BYTES.fullmatch(value):
        raise Unreadable(name)
    return value


def texts(header: Header, name: str, *, max_length: int, max_letters: int) -> tuple[str, ...]:
    """A field of so many texts at most, of so many letters each; none is empty."""
    values = header.get(name)
    if not isinstance(values, list) or len(values) > max_length:
        raise Unreadable(name)
    if not all(isinstance(each, str) and 0 < len(each) <= max_letters for each in values):
        raise Unreadable(name)
    return tuple(values)


def whole(header: Header, name: str) -> int:
    """A field that is a whole number, not negative."""
    value = header.get(name)
    if not is_whole(value):
        raise Unreadable(name)
    return value


def is_whole(value: object) -> TypeGuard[int]:
    """Whether a value is a whole number that may travel."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_WHOLE


def number(header: Header, name: str) -> float:
    """A field that is any number, NaN among them."""
    value = header.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise Unreadable(name)
    return float(value)


def refusal_fields(refusal: Refusal) -> Fields:
    """What a refusal's header holds."""
    return {"code": refusal.code, "reason": refusal.reason}


def refusal_in(header: Header) -> Refusal | None:
    """The refusal that a header holds; None if it holds something else."""
    if "code" not in header:
        return None
    code = text(header, "code")
    if code not in set(RefusalCode):
        raise Unreadable("code")
    reason = printable(text(header, "reason"), max_letters=MAX_REASON)
    return Refusal(code=RefusalCode(code), reason=reason)


def printable(words: str, *, max_letters: int) -> str:
    """The other side's words, cut, and unable to steer a terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in words[:max_letters])
