"""Counting a hospital's patients for the coordinator's table before a study, as far as its policy lets counts out.

A patient has one value of each attribute: that of its first record, in the cache's order, that has one. So one
patient more or less changes one count of each attribute by one, which is what the noise is made for.

A table that has left is kept, and leaves again, the same, when it is asked for again: a mean over fresh noise would
have none. Each new cache or policy makes a new table, and epsilons add up over tables.
"""

import hashlib
import json
import logging
import math
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from client.cache.records import Records
from client.config import SiteConfig, StatisticsPolicy
from client.rounds import NotTaken, open_site_cache
from federation.files import hold_lock, write_file
from federation.messages import (
    Count,
    CountsAnswer,
    CountsRequest,
    Refusal,
    RefusalCode,
    SiteCounts,
)
from federation.statistics import AGES, FILES, REASONS, YEARS_PER_GROUP, layout, noise_scale
from model.conditioning import Schema
from privacy.discrete_laplace import draw_discrete_laplace
from privacy.small_cells import withhold_below, withhold_small

logger = logging.getLogger(__name__)

MAX_COUNT = 2**53 - 1


def answer_counts(site: SiteConfig, request: CountsRequest) -> CountsAnswer:
    """This hospital's table, or why there is none; a hospital that does not share opens nothing."""
    if not site.statistics.share:
        reason = "the hospital does not share counts before a study"
        return Refusal(code=RefusalCode.STATISTICS, reason=reason)
    try:
        records = open_site_cache(site)
    except NotTaken as err:
        return err.refusal
    if records.findings != request.findings:
        reason = (
            f"the hospital's cache holds other findings than the study's {len(request.findings)}: its data manager "
            "sets findings and types `fedcxr hospital ingest`"
        )
        return Refusal(code=RefusalCode.CACHE, reason=reason)
    return released_counts(site, records)


def released_counts(site: SiteConfig, records: Records) -> SiteCounts:
    """The table that left before for this cache and policy, or a new one.

    Making a new one is the moment at which a ledger has to be charged with the policy's epsilon; a ledger of
    statistics does not exist yet.
    """
    folder = site.state_path / "statistics"
    path = folder / f"{_digest(records, site.statistics)}.json"
    with hold_lock(folder / "lock", patience_seconds=math.inf):
        if path.exists():
            return SiteCounts(**json.loads(path.read_text()))
        counts = count(records, site.statistics)
        write_file(path, json.dumps(asdict(counts), indent=2).encode())
    logger.info("a table of counts was made, number %d", len(list(folder.glob("*.json"))))
    return counts


def count(records: Records, policy: StatisticsPolicy) -> SiteCounts:
    """Count everything; with an epsilon, every call draws new noise."""
    num_patients, exact = len(np.unique(records.patients)), patients_by_value(records)

    def disclose(counts: Sequence[int]) -> tuple[Count, ...]:
        if policy.epsilon is None:
            return withhold_small(counts, total=num_patients, min_cell=policy.min_cell)
        scale = noise_scale(records.findings, policy.epsilon)
        noisy = [min(each + draw_discrete_laplace(scale), MAX_COUNT) for each in counts]
        return withhold_below(noisy, min_cell=policy.min_cell)

    # How many files a patient has knows no bound, so no noise covers it, and few patients may have many.
    counts_files = policy.epsilon is None and num_patients >= policy.min_cell
    num_files, files = _files(records, policy.min_cell) if counts_files else (None, {})
    return SiteCounts(
        num_patients=disclose([num_patients])[0],
        num_files=num_files,
        files=dict.fromkeys(FILES) | files,
        table={
            name: dict(zip(values, disclose(exact[name]), strict=True))
            for name, values in layout(records.findings).items()
        },
        min_cell=policy.min_cell,
        epsilon=policy.epsilon,
    )


def patients_by_value(records: Records) -> dict[str, list[int]]:
    """Attribute -> patients by value, in the layout's order, as they are. For the hospital's own eyes."""
    columns = dict(zip(Schema(records.findings).names, np.asarray(records.rows).T, strict=True))
    age = columns["age"]
    group = np.where(np.isnan(age), -1.0, np.minimum(age // YEARS_PER_GROUP, len(AGES) - 1))
    columns |= {"age": group + 1, "split": np.where(records.held_out, 2.0, 1.0)}
    return {
        name: _patients_per_id(records.patients, columns[name], num_ids=len(values))
        for name, values in layout(records.findings).items()
    }


def _patients_per_id(
    patients: NDArray[np.uint64], ids: NDArray[np.floating], *, num_ids: int
) -> list[int]:
    """Patients per id from 1 on; a patient counts under the id of its first record that has one."""
    known = (ids >= 1) & (ids <= num_ids)
    _, first = np.unique(patients[known], return_index=True)
    per_id = np.bincount(ids[known][first].astype(np.int64), minlength=num_ids + 1)
    return [int(number) for number in per_id[1:]]


def _files(records: Records, min_cell: int) -> tuple[Count, dict[str, Count]]:
    """Files looked at, and what became of them."""
    refused = {reason.value: number for reason, number in records.tally.refused.items()}
    counts = [len(records), *(refused.get(reason, 0) for reason in REASONS)]
    total = records.tally.num_files
    (num_files,) = withhold_small([total], total=total, min_cell=min_cell)
    shown = withhold_small(counts, total=total, min_cell=min_cell)
    return num_files, dict(zip(FILES, shown, strict=True))


def _digest(records: Records, policy: StatisticsPolicy) -> str:
    """Names the table of this cache under this policy; with noise, of no more than the noise covers."""
    digest = hashlib.sha256()
    for array in (records.rows, records.patients, records.held_out):
        digest.update(np.ascontiguousarray(array).tobytes())
    files = records.tally.to_json() if policy.epsilon is None else None
    facts = [layout(records.findings), FILES, files, policy.min_cell, policy.epsilon]
    digest.update(json.dumps(facts).encode())
    return digest.hexdigest()
