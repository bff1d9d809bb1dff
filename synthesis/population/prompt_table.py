"""Tables of prompts, a condition a line, as ``fedcxr generate --prompts`` reads them."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from federation.files import write_file
from model.conditioning import Schema
from synthesis.population.conditions import UnknownValue, value_number
from synthesis.population.population import Population

CARRIED = ("n", "seed")
"""Columns that say how to draw and not what; they are left as they are."""


class WrongTable(ValueError):
    """A table of prompts that cannot be used."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path} cannot be used: {problem}")


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptTable:
    """What a table says, line by line."""

    conditions: tuple[Mapping[str, str], ...]
    """What the population knows; open attributes are left out."""
    rest: tuple[Mapping[str, str], ...]
    """What else stands in the line."""


def read_table(path: Path, population: Population) -> PromptTable:
    """Read CSV with attributes as titles; an empty cell is open.

    Raises:
        WrongTable: it is none, or a title or value means nothing; with the line.
    """
    schema = Schema(population.findings)
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig")), strict=True))
    except OSError as err:
        raise WrongTable(path, f"it cannot be read ({err.strerror})") from err
    except (UnicodeDecodeError, csv.Error) as err:
        raise WrongTable(path, "it is not a table of comma-separated values") from err
    if not rows:
        raise WrongTable(path, "it needs a line of titles and at least one prompt")
    known = (*schema.names, *CARRIED)
    for title in rows[0]:
        if title not in known:
            raise WrongTable(path, f"the column {title!r} is none of {', '.join(known)}")
    conditions, rest = [], []
    for number, row in enumerate(rows, start=1):
        if any(cell is None for cell in row.values()):
            raise WrongTable(path, f"record {number} has fewer cells than there are titles")
        given = {name: cell.strip() for name, cell in row.items() if cell.strip()}
        conditions.append(_condition(path, number, given, population))
        rest.append({name: cell for name, cell in given.items() if name not in conditions[-1]})
    return PromptTable(conditions=tuple(conditions), rest=tuple(rest))


def write_table(
    path: Path, population: Population, lines: Sequence[Mapping[str, str]], omit: Sequence[str] = ()
) -> None:
    """Write CSV in one step: the attributes in the order of a condition, those omitted left open."""
    names = (*Schema(population.findings).names, *CARRIED)
    columns = [n for n in names if n not in omit and any(n in line for line in lines)]
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, columns, restval="", extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    table.writerows(lines)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, text.getvalue().encode())


def _condition(
    path: Path, number: int, given: Mapping[str, str], population: Population
) -> dict[str, str]:
    """The part of a line that the population knows."""
    condition = {n: word for n, word in given.items() if n in population.model.graph.values}
    for name, word in condition.items():
        try:
            value_number(population, name, word)
        except UnknownValue as err:
            raise WrongTable(path, f"record {number}: {err}") from err
    return condition
