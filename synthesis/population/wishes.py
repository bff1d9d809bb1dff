"""What is typed after ``--set``, ``--like`` and ``--age``."""

import re
from collections.abc import Sequence

from synthesis.population.ask import NoBand
from synthesis.population.conditions import value_number
from synthesis.population.population import Population


class NoWish(ValueError):
    """Not ``NAME=VALUE``, or one name twice."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text!r} cannot be used: write NAME=VALUE, and every name at most once")


def wishes(texts: Sequence[str], population: Population) -> dict[str, str]:
    """Attribute -> word.

    Raises:
        NoWish: a text is no assignment.
        UnknownAttribute, UnknownValue: it means nothing to this population.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, is_given, word = text.partition("=")
        if not is_given or name in found:
            raise NoWish(text)
        value_number(population, name, word)
        found[name] = word
    return found


def age_band(text: str) -> tuple[int, int]:
    """First and last year of a band of ages.

    Raises:
        NoBand: it is none.
    """
    match = re.fullmatch(r"(\d{1,3})-(\d{1,3})", text)
    if match is None:
        raise NoBand(repr(text))
    return int(match[1]), int(match[2])
