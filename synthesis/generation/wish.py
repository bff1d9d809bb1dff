"""What a person asks for, in words, as the model's condition; and a condition back in words.

An attribute has one name and one way to write its value, on the command line, in a table of prompts
and in what is said of a finished picture. What is not given stays open.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from federation.statistics import MANUFACTURERS
from model.conditioning import (
    FINDING_STATES,
    NUM_MANUFACTURERS,
    NUM_SITES,
    RACES,
    SEXES,
    VIEWS,
    Metadata,
    Schema,
)

Value = float | int | str
"""Years, the number of a hospital or maker, or the word of anything else."""

SiteNumbers = Mapping[str, int]
"""Hospital -> its number in the study, as a model's manifest has it."""

Kind = TypeVar("Kind", float, int, str)

OLDEST_WISH = 120.0
"""Years."""

_WORDS = {"sex": SEXES, "view": VIEWS, "race": RACES}


class UnknownWish(ValueError):
    """The model knows no such attribute or value."""

    def __init__(self, given: str, known: Iterable[str]) -> None:
        super().__init__(
            f"{given!r} is not something this model knows: give one of {', '.join(known)}"
        )


class NoAge(ValueError):
    """Something else than a number of years."""

    def __init__(self, given: str) -> None:
        super().__init__(f"{given!r} is no age: give years from 0 to {OLDEST_WISH:.0f}")


class NoSites(ValueError):
    """A hospital asked for by name or number, of a model that cannot tell hospitals apart."""

    def __init__(self, given: str) -> None:
        super().__init__(
            f"this model cannot draw like hospital {given!r}: it was trained without the hospitals' "
            "numbers, so leave the site open"
        )


class NoAssignment(ValueError):
    """A text that gives no attribute a value, or gives one two."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text!r} cannot be used: write NAME=VALUE, and every name at most once")


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What a radiograph shall show."""

    values: Mapping[str, Value] = field(default_factory=dict)
    """Attribute -> value, as ``parse_value`` gives it; attributes left out stay open."""

    def metadata(self, schema: Schema) -> Metadata:
        """The wish in the model's terms."""
        given = self.values
        return Metadata(
            age=_typed(given.get("age"), float),
            sex=_typed(given.get("sex"), str),
            view=_typed(given.get("view"), str),
            race=_typed(given.get("race"), str),
            site=_typed(given.get("site"), int),
            manufacturer=_typed(given.get("manufacturer"), int),
            findings={name: str(given[name]) for name in schema.findings if name in given},
        )

    def row(self, schema: Schema) -> NDArray[np.float32]:
        """The wish as numbers of shape (attribute,): age in years or NaN, then ids."""
        return schema.row(self.metadata(schema))


def assignments(
    texts: Sequence[str], schema: Schema, site_numbers: SiteNumbers | None = None
) -> dict[str, Value]:
    """Texts ``NAME=VALUE`` as attributes and values.

    Args:
        texts: such as ``sex=F``, ``age=70``, ``cardiomegaly=present``, ``manufacturer=siemens``.
        schema: the attributes that the model knows.
        site_numbers: the model's hospitals; None takes any number and no name.

    Raises:
        NoAssignment, UnknownWish, NoAge, NoSites: naming what is wrong and what would be right.
    """
    values: dict[str, Value] = {}
    for text in texts:
        name, is_given, value = text.partition("=")
        if not is_given or name in values:
            raise NoAssignment(text)
        values[name] = parse_value(name, value, schema, site_numbers)
    return values


def parse_value(
    name: str, text: str, schema: Schema, site_numbers: SiteNumbers | None = None
) -> Value:
    """One attribute's value, from the way a person writes it.

    Raises:
        UnknownWish, NoAge, NoSites: naming what is wrong and what would be right.
    """
    if name not in schema.names:
        raise UnknownWish(name, schema.names)
    if name == "age":
        return _age(text)
    if name == "site":
        return _site(text, site_numbers)
    if name == "manufacturer":
        return _numbered(text, _makers(), range(1, NUM_MANUFACTURERS + 1))
    known = _WORDS.get(name, FINDING_STATES)
    if text not in known:
        raise UnknownWish(text, known)
    return text


def values_of(row: NDArray[np.floating], schema: Schema) -> dict[str, Value]:
    """What is known in a condition of shape (attribute,): the inverse of ``Wish.row``."""
    values: dict[str, Value] = {}
    for name, number in zip(schema.names, row.tolist(), strict=True):
        if name == "age":
            if number == number:  # noqa: PLR0124  not NaN
                values[name] = float(number)
        elif number > 0:
            words = () if name in {"site", "manufacturer"} else _WORDS.get(name, FINDING_STATES)
            values[name] = words[int(number) - 1] if words else int(number)
    return values


def in_words(
    values: Mapping[str, Value], site_numbers: SiteNumbers | None = None
) -> dict[str, str]:
    """Values as people read them, and as ``parse_value`` takes them again."""
    hospitals = {number: name for name, number in (site_numbers or {}).items()}
    makers = {number: name for name, number in _makers().items()}
    spoken = {}
    for name, value in values.items():
        text = f"{value:g}" if isinstance(value, float) else str(value)
        if name in {"site", "manufacturer"} and isinstance(value, int):
            text = (hospitals if name == "site" else makers).get(value, text)
        spoken[name] = text
    return spoken


def _typed(value: Value | None, kind: type[Kind]) -> Kind | None:
    """A value in the kind of number or word that its attribute has."""
    return None if value is None else kind(value)


def _age(text: str) -> float:
    try:
        years = float(text)
    except ValueError:
        raise NoAge(text) from None
    if not 0 <= years <= OLDEST_WISH:
        raise NoAge(text)
    return years


def _site(text: str, site_numbers: SiteNumbers | None) -> int:
    """A hospital's number; of those that the model was trained with, if they are known."""
    if site_numbers is None:
        return _numbered(text, {}, range(1, NUM_SITES + 1))
    if not site_numbers:
        raise NoSites(text)
    return _numbered(text, site_numbers, site_numbers.values())


def _numbered(text: str, names: Mapping[str, int], numbers: Iterable[int]) -> int:
    """The number of a name, or a number that is one of ``numbers``."""
    if text in names:
        return names[text]
    known = {str(number): number for number in numbers}
    if text not in known:
        raise UnknownWish(text, (*names, *known))
    return known[text]


def _makers() -> dict[str, int]:
    return {name: number for number, name in enumerate(MANUFACTURERS, start=1)}
