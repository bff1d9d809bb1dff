"""How consoles look: their templates, and how templates write numbers, times and sizes for people."""

import math
import re
import time
from datetime import UTC, datetime

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

from federation.sizes import size

DIGEST = re.compile(r"[0-9a-f]{64}")
TYPED = re.compile(r"`([^`]+)`")
"""What a sentence has somebody type."""
WORD = re.compile(r"[a-z]+ ")
LARGE = 1e6
"""From here on a measured number is written with few digits, whoever sent it."""
MINUTE, HOUR, DAY = 60, 3600, 86400


def environment(package: str) -> Environment:
    """The templates of one package, on top of those that all consoles share."""
    made = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("federation.console")]),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "grouped": "{:,}".format,
        "moment": moment,
        "iso": iso,
        "duration": duration,
        "ago": ago,
        "size": size,
        "value": value,
        "words": words,
        "short": short,
        "fact": fact,
        "lasting": lasting,
        "sentence": sentence,
    }
    return made


def moment(seconds: float) -> str:
    """A point in time, such as ``22 Nov 2026, 17:40 UTC``."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%-d %b %Y, %H:%M UTC")


def iso(seconds: float) -> str:
    """A point in time for a program."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def duration(seconds: float) -> str:
    """A length of time in its two largest units, such as ``2 h 05 min``."""
    whole = max(0, round(seconds))
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min {whole % MINUTE:02} s"
    if whole < DAY:
        return f"{whole // HOUR} h {whole % HOUR // MINUTE:02} min"
    return f"{whole // DAY} d {whole % DAY // HOUR} h"


def ago(seconds: float) -> str:
    """How long a point in time is past."""
    past = time.time() - seconds
    return "just now" if past < 1 else f"{duration(past)} ago"


def lasting(seconds: float) -> str:
    """How long something has been so, such as ``for 2 h 05 min``."""
    return f"for {duration(time.time() - seconds)}"


def value(number: float | None, digits: int = 4) -> str:
    """A measured number; a dash where there is none."""
    if number is None or math.isnan(number):
        return "-"
    if not math.isfinite(number):
        return "unlimited"
    return f"{number:.{digits}f}" if abs(number) < LARGE else f"{number:.3g}"


def sentence(text: str) -> Markup:
    """A sentence of the program on a page: it begins like one, and what is to be typed stands out.

    A first word that is no plain word, such as a hospital's name with its colon, stays as it is.
    """
    begun = text[:1].upper() + text[1:] if WORD.match(text) else text
    pieces = enumerate(TYPED.split(begun))  # every second one was between two marks
    return Markup().join(
        Markup("<code>{}</code>").format(piece) if place % 2 else escape(piece)
        for place, piece in pieces
    )


def words(code: object) -> str:
    """A code as words."""
    return str(code).replace("_", " ").replace("-", " ").replace("dicom", "DICOM")


def fact(known: object) -> str:
    """A value out of a record: numbers with few digits, digests as far as they are compared by eye."""
    if isinstance(known, float):
        return f"{known:.4g}"
    return short(known) if isinstance(known, str) and DIGEST.fullmatch(known) else str(known)


def short(digest: str) -> str:
    """Enough of a digest to compare by eye."""
    return digest[:12]
