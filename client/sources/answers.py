"""What a PACS answers to a QIDO-RS search: pages of data sets in DICOM JSON (PS3.18 annex F), taken with care."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence

Answer = Mapping[str, object]
"""One match: tags in hexadecimal -> their elements."""

PAGE_SIZE = 500
"""Matches asked for at a time."""

_SURELY_LAST = 10
"""Servers may give fewer matches at a time than they are asked for, but none so few: what is shorter is the
last page, and the search for nothing after it is spared."""


class NotAnAnswer(ValueError):
    """JSON, but not a list of data sets."""


def pages(search: Callable[[int], object], key: str) -> Iterator[Answer]:
    """All matches of a search, each once, however few the server gives at a time.

    Args:
        search: gives the matches from an offset on.
        key: tag that tells matches apart.

    Raises:
        NotAnAnswer: the server answers something else.
    """
    seen, offset = set[str](), 0
    while True:
        page = _checked(search(offset))
        new = {text(match, key): match for match in page if text(match, key) not in seen}
        yield from new.values()
        seen |= new.keys()
        offset += len(page)
        # A server that knows no offset would give the same for ever.
        if len(page) < _SURELY_LAST or not new:
            return


def text(match: Answer, tag: str) -> str:
    """The first value of an element; empty if there is none."""
    return next(iter(texts(match, tag)), "")


def texts(match: Answer, tag: str) -> list[str]:
    """All values of an element, without padding."""
    element = match.get(tag)
    values = element.get("Value") if isinstance(element, Mapping) else None
    return [str(value).strip(" \0") for value in values] if isinstance(values, list) else []


def fingerprint(match: Answer, tags: Sequence[str]) -> str:
    """Changes whenever one of the elements does."""
    return hashlib.sha256(json.dumps([text(match, tag) for tag in tags]).encode()).hexdigest()


def _checked(page: object) -> list[Answer]:
    if isinstance(page, list) and all(isinstance(match, Mapping) for match in page):
        return page
    raise NotAnAnswer
