"""Names of spaces and numbers of shards, as they stand in a path: the only part of one that a stranger writes."""

import re

MAX_SHARDS = 10_000
_SPACE = re.compile(r"[a-z0-9][a-z0-9.-]{0,119}")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,5}")


def is_space(name: str) -> bool:
    """Whether this can name a space: letters, digits, dots and dashes, and neither ``.`` nor ``..``."""
    return _SPACE.fullmatch(name) is not None


def check_space(name: str) -> str:
    """The name itself.

    Raises:
        ValueError: if it cannot name a space.
    """
    if not is_space(name):
        raise ValueError(f"{name[:130]!r} cannot name a space of blobs")
    return name


def shard_number(text: str) -> int | None:
    """The number as it is written in a link; None for any other way to write it."""
    return int(text) if _NUMBER.fullmatch(text) else None


def shard_name(number: int) -> str:
    """Name of a shard's file or object."""
    return f"{number:06d}"


def box_link(space: str) -> str:
    """Where a box is opened at the public port."""
    return f"/blobs/{space}"


def shard_link(space: str, number: int) -> str:
    """Where a shard is fetched or left at the public port."""
    return f"/blobs/{space}/{number}"
