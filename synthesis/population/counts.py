"""Hospitals' counts, as the coordinator printed them or as a cache holds them, made into tables to fit to."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.cache.records import Records
from client.config import StatisticsPolicy
from client.statistics import count, with_pairs
from federation.messages import Count, SiteCounts
from federation.statistics import (
    FILES,
    PRESENCE,
    PRESENCE_OF,
    Pair,
    layout,
    noise_scale,
    pair_layout,
)
from model.conditioning import FINDING_STATES
from model.label_model.tables import SiteTables, filled

STATE_TO_PRESENCE = np.array(
    [[PRESENCE_OF[state] == presence for presence in PRESENCE] for state in FINDING_STATES], float
)
"""(state, presence): 1 where a state counts as that."""


class NoCounts(ValueError):
    """Not what the coordinator prints, or nothing in it."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"{path} cannot be used ({why}): type `fedcxr coordinator statistics STUDY --json > {path.name}` at the "
            "coordinator"
        )


def read_counts(path: Path) -> tuple[tuple[str, ...], dict[str, SiteCounts]]:
    """The study's findings, and the counts of every hospital that shares any.

    Raises:
        NoCounts: the file holds none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        findings = tuple(content["findings"])
        hospitals = {
            name: _site_counts(part, findings)
            for name, part in content["hospitals"].items()
            if part["state"] == "shared"
        }
    except OSError as err:
        raise NoCounts(path, str(err.strerror)) from err
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise NoCounts(path, "it is not what the coordinator prints") from err
    if not hospitals:
        raise NoCounts(path, "no hospital shared its counts")
    return findings, hospitals


def exact_counts(records: Records, pairs: Sequence[Pair]) -> SiteCounts:
    """Everything about a hospital's own patients as it is, for whoever may see them all."""
    policy = StatisticsPolicy(share=True, min_cell=1, max_pairs=len(pairs))
    return with_pairs(count(records, policy), records, policy, pairs)


def tables_of(counts: SiteCounts, findings: tuple[str, ...]) -> SiteTables | None:
    """One hospital's counts with findings by presence; None if it withheld too much to tell anything."""
    if counts.num_patients is None:
        return None
    by_value = one_way(counts)
    variance = 0.0
    if counts.epsilon is not None:
        variance = 2.0 * float(noise_scale(findings, counts.epsilon, counts.max_pairs)) ** 2
    return SiteTables(
        num_patients=float(counts.num_patients),
        counts={
            name: values @ STATE_TO_PRESENCE if name in findings else values
            for name, values in by_value.items()
        },
        pairs={
            ends: table
            for ends, table in _both_ways(counts, findings).items()
            if by_value.keys() >= set(ends)
        },
        min_cell=counts.min_cell,
        noise_variance=variance,
    )


def one_way(counts: SiteCounts) -> dict[str, NDArray[np.float64]]:
    """Attribute -> patients by value as they most likely were, findings by state; none that was withheld as a whole."""
    tables = {name: _numbers(values.values()) for name, values in counts.table.items()}
    return {
        name: filled(
            values,
            total=float(counts.num_patients or 0),
            min_cell=counts.min_cell,
            is_noised=counts.epsilon is not None,
        )
        for name, values in tables.items()
        if not np.isnan(values).all()
    }


def _both_ways(
    counts: SiteCounts, findings: tuple[str, ...]
) -> dict[tuple[str, str], NDArray[np.float64]]:
    """(one, other) -> table, and the same turned for (other, one); those that were given."""
    shape = pair_layout(findings)
    tables: dict[tuple[str, str], NDArray[np.float64]] = {}
    for first, seconds in counts.pairs.items():
        for second, rows in seconds.items():
            cells = _numbers(cell for row in rows.values() for cell in row.values())
            table = cells.reshape(len(shape[first]), len(shape[second]))
            if not np.isnan(table).all():
                tables |= {(first, second): table, (second, first): table.T}
    return tables


def _numbers(counts: Any) -> NDArray[np.float64]:  # noqa: ANN401  any iterable of counts
    return np.array([np.nan if each is None else each for each in counts], np.float64)


def _site_counts(part: Mapping[str, Any], findings: tuple[str, ...]) -> SiteCounts:
    """A hospital's part of what `server.statistics_table.facts` says.

    Raises:
        ValueError, KeyError, TypeError: something is missing or of another kind.
    """
    given, shape = part["counts"], layout(findings)
    table = {name: {value: _count(given[name][value]) for value in shape[name]} for name in shape}
    return SiteCounts(
        num_patients=_count(given["patients"]["all"]),
        num_files=None,
        files=dict.fromkeys(FILES),
        table=table,
        min_cell=int(part["min_cell"]),
        epsilon=part["epsilon"],
        max_pairs=int(part["max_pairs"]),
        pairs={
            first: {
                second: _pair_table(rows, first, second, findings)
                for second, rows in seconds.items()
            }
            for first, seconds in part["pairs"].items()
        },
    )


def _pair_table(
    rows: Mapping[str, Any], first: str, second: str, findings: tuple[str, ...]
) -> dict[str, dict[str, Count]]:
    """A table of two attributes with nothing missing."""
    shape = pair_layout(findings)
    return {
        value: {other: _count(rows[value][other]) for other in shape[second]}
        for value in shape[first]
    }


def _count(value: object) -> Count:
    if value is not None and not isinstance(value, int):
        raise TypeError(value)
    return value
