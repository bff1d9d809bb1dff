"""Prompts: conditions and how many pictures of each, from the command line or a table.

A table has a column for every attribute that a prompt gives, and may have the columns `n` and `seed`.
An empty cell leaves its attribute open.
"""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.conditioning import Schema
from synthesis.generation.wish import (
    NoAge,
    NoSites,
    SiteNumbers,
    UnknownWish,
    Wish,
    in_words,
    parse_value,
    values_of,
)

COUNT, SEED = "n", "seed"
NO_SEED = -1
LARGEST_SEED = 2**63 - 1
MAX_PICTURES = 10_000_000
"""Of one prompt; a larger number is a slip."""

Cells = Mapping[str, str]
"""Title -> what stands there; empty for open."""


class WrongPrompts(ValueError):
    """A table of prompts that cannot be used."""

    def __init__(self, path: Path, place: str, problem: str) -> None:
        super().__init__(f"{path}{f' {place}' if place else ''}: {problem}")


class _WrongCell(ValueError):
    """One cell that is wrong; the place is known further up."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Prompts:
    """What to draw, in order."""

    rows: NDArray[np.float32]
    """(prompt, attribute): age in years or NaN, then ids with 0 for open."""

    counts: NDArray[np.int64]
    """(prompt,): pictures of each, at least 1."""

    seeds: NDArray[np.int64]
    """(prompt,): a seed of its own, or ``NO_SEED``."""

    def __len__(self) -> int:
        """Number of prompts."""
        return len(self.rows)

    @property
    def num_pictures(self) -> int:
        """Pictures of all prompts together."""
        return int(self.counts.sum())


def single_prompt(wish: Wish, schema: Schema, count: int) -> Prompts:
    """One condition, several times."""
    return Prompts(
        rows=wish.row(schema)[None],
        counts=np.array([count], np.int64),
        seeds=np.array([NO_SEED], np.int64),
    )


def read_prompts(
    path: Path, schema: Schema, site_numbers: SiteNumbers | None, *, usual_count: int
) -> Prompts:
    """Read a table: CSV with titles in its first line, or JSON with a list of objects.

    Args:
        path: its ending says which of the two.
        schema: the attributes that the model knows.
        site_numbers: the model's hospitals.
        usual_count: pictures of a prompt that does not say.

    Raises:
        WrongPrompts: the file cannot be read, or a column or value means nothing; with the place.
    """
    cells_of = _json_cells if path.suffix.lower() == ".json" else _csv_cells
    rows, counts, seeds = [], [], []
    try:
        for place, cells in cells_of(path):
            try:
                rows.append(_wish(cells, schema, site_numbers).row(schema))
                counts.append(_whole(cells, COUNT, usual_count, range(1, MAX_PICTURES + 1)))
                seeds.append(_whole(cells, SEED, NO_SEED, range(LARGEST_SEED + 1)))
            except (UnknownWish, NoAge, NoSites, _WrongCell) as err:
                raise WrongPrompts(path, place, str(err)) from None
    except OSError as err:
        raise WrongPrompts(path, "", f"it cannot be read ({err.strerror})") from err
    except UnicodeDecodeError as err:
        raise WrongPrompts(path, "", "it is not UTF-8 text") from err
    if not rows:
        raise WrongPrompts(path, "", "it holds no prompt")
    return Prompts(
        rows=np.stack(rows), counts=np.array(counts, np.int64), seeds=np.array(seeds, np.int64)
    )


def prompt_lines(
    prompts: Prompts, schema: Schema, site_numbers: SiteNumbers
) -> Iterator[Sequence[str]]:
    """The same prompts as the lines of a table that ``read_prompts`` reads, titles first."""
    yield *schema.names, COUNT, SEED
    for row, count, seed in zip(prompts.rows, prompts.counts, prompts.seeds, strict=True):
        words = in_words(values_of(row, schema), site_numbers)
        own_seed = "" if seed == NO_SEED else str(seed)
        yield *(words.get(name, "") for name in schema.names), str(count), own_seed


def _csv_cells(path: Path) -> Iterator[tuple[str, Cells]]:
    """Rows with the number of their last line."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file, strict=True)
        try:
            titles = [title.strip() for title in next(rows, [])]
            if len(set(titles)) < len(titles):
                raise WrongPrompts(path, "line 1", "a title stands there twice")
            for row in rows:
                if any(map(str.strip, row)):
                    yield f"line {rows.line_num}", _by_title(path, rows.line_num, titles, row)
        except csv.Error as err:
            problem = f"it is not a table of comma-separated values ({err})"
            raise WrongPrompts(path, f"line {rows.line_num}", problem) from err


def _by_title(path: Path, line: int, titles: Sequence[str], row: Sequence[str]) -> Cells:
    if len(row) != len(titles):
        problem = f"it has {len(row)} cells, the first line names {len(titles)} columns"
        raise WrongPrompts(path, f"line {line}", problem)
    return {title: cell.strip() for title, cell in zip(titles, row, strict=True)}


def _json_cells(path: Path) -> Iterator[tuple[str, Cells]]:
    """Objects with their place in the list."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, RecursionError) as err:
        line = f"line {err.lineno}" if isinstance(err, json.JSONDecodeError) else ""
        raise WrongPrompts(path, line, "it is not JSON") from err
    if not isinstance(content, list):
        raise WrongPrompts(path, "", "it is not a list of objects, one for each prompt")
    for number, item in enumerate(content, start=1):
        if not isinstance(item, dict):
            raise WrongPrompts(path, f"prompt {number}", "it is not an object")
        cells = {name: "" if value is None else str(value) for name, value in item.items()}
        yield f"prompt {number}", cells


def _wish(cells: Cells, schema: Schema, site_numbers: SiteNumbers | None) -> Wish:
    known = (*schema.names, COUNT, SEED)
    for name in cells:
        if name not in known:
            raise UnknownWish(name, known)
    given = {name: text for name, text in cells.items() if text and name in schema.names}
    return Wish(
        values={name: parse_value(name, text, schema, site_numbers) for name, text in given.items()}
    )


def _whole(cells: Cells, name: str, usual: int, allowed: range) -> int:
    text = cells.get(name, "")
    if not text:
        return usual
    if not text.isascii() or not text.isdigit() or int(text) not in allowed:
        span = f"{allowed.start} to {allowed.stop - 1}"
        raise _WrongCell(f"{name} is {text!r}: give a whole number from {span}")
    return int(text)
