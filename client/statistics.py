"""Counting a hospital's patients for the coordinator's table before a study, as far as its policy lets counts out.

One patient more or less changes one count of each attribute, and one of each pair of attributes, by one, which is
what the noise is made for.

A table that has left is kept, and leaves again, the same, when it is asked for again: a mean over fresh noise would
have none. The coordinator chooses which pairs are counted, but not how many: once the policy's number of tables is
given, no other one is made, and the noise is that of the full number from the first. Each new cache or policy makes
new tables, and epsilons add up over those: in the data set's ledger, where the hospital has a privacy policy.
"""

import hashlib
import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from client.cache.records import Records
from client.config import SiteConfig, StatisticsPolicy
from client.control.gate import gate_of
from client.opening import open_site_cache
from client.patient_counts import patients_by_pair, patients_by_value
from client.privacy_policy import PrivacyPolicy
from client.private_counts import charge_counts, settle_counts
from client.private_round import policy_of
from client.refused import NotTaken
from federation.files import hold_lock, write_file
from federation.messages import (
    Count,
    CountsAnswer,
    CountsRequest,
    PairTables,
    Refusal,
    RefusalCode,
    SiteCounts,
)
from federation.statistics import FILES, REASONS, Pair, layout, noise_scale, pair_layout
from privacy.discrete_laplace import draw_discrete_laplace
from privacy.left_out import left_out
from privacy.small_cells import in_steps, withhold_below, withhold_small

logger = logging.getLogger(__name__)

MAX_COUNT = 2**53 - 1


def answer_counts(site: SiteConfig, request: CountsRequest) -> CountsAnswer:
    """This hospital's table, or why there is none; a hospital that does not share opens nothing."""
    if not site.statistics.share:
        reason = "the hospital does not share counts before a study"
        return Refusal(code=RefusalCode.STATISTICS, reason=reason)
    try:
        gate_of(site).require_open()
        records = open_site_cache(site)
    except NotTaken as err:
        return err.refusal
    policy = policy_of(site)
    if policy is not None and policy.only_private and site.statistics.epsilon is None:
        reason = "the hospital's privacy policy lets no counts leave without noise: its data manager sets epsilon"
        return Refusal(code=RefusalCode.STATISTICS, reason=reason)
    if records.findings != request.findings:
        reason = (
            f"the hospital's cache holds other findings than the study's {len(request.findings)}: its data manager "
            "sets findings and types `fedcxr hospital ingest`"
        )
        return Refusal(code=RefusalCode.CACHE, reason=reason)
    try:
        return released_counts(site, records, request.pairs, policy)
    except NotTaken as err:
        return err.refusal


def released_counts(
    site: SiteConfig,
    records: Records,
    pairs: Sequence[Pair] = (),
    policy: PrivacyPolicy | None = None,
) -> SiteCounts:
    """The tables that left before for this cache and policy, with new ones where there were none.

    With noise, the first ones are charged to the data set's ledger before they are made, for all that will ever be.

    Raises:
        NotTaken: the ledger does not allow it.
    """
    folder, digest = site.state_path / "statistics", _digest(records, site.statistics)
    path = folder / f"{digest}.json"
    with hold_lock(folder / "lock", patience_seconds=math.inf):
        kept = _read(path)
        if policy is not None and site.statistics.epsilon is not None:
            charge_counts(policy, digest, site.statistics.epsilon, is_made=kept is not None)
        counts = with_pairs(
            kept or count(records, site.statistics), records, site.statistics, pairs
        )
        if counts != kept:
            write_file(path, json.dumps(asdict(counts), indent=2).encode())
            logger.info("counts were made, number %d", len(list(folder.glob("*.json"))))
        if policy is not None and site.statistics.epsilon is not None:
            settle_counts(policy, digest)
    return replace(counts, pairs=_only(counts.pairs, pairs, records.findings))


def count(records: Records, policy: StatisticsPolicy) -> SiteCounts:
    """Count by one attribute; with an epsilon, every call draws new noise."""
    num_patients, exact = len(np.unique(records.patients)), patients_by_value(records)
    # How many files a patient has knows no bound, so no noise covers it, and few patients may have many.
    counts_files = policy.epsilon is None and num_patients >= policy.min_cell
    num_files, files = _files(records, policy.min_cell) if counts_files else (None, {})
    return SiteCounts(
        num_patients=_disclose([num_patients], num_patients, records, policy)[0],
        num_files=num_files,
        files=dict.fromkeys(FILES) | files,
        table={
            name: dict(
                zip(values, _disclose(exact[name], num_patients, records, policy), strict=True)
            )
            for name, values in layout(records.findings).items()
        },
        min_cell=policy.min_cell,
        epsilon=policy.epsilon,
        max_pairs=policy.max_pairs,
    )


def with_pairs(
    counts: SiteCounts, records: Records, policy: StatisticsPolicy, pairs: Sequence[Pair]
) -> SiteCounts:
    """The same counts and tables of two attributes, the first of those that are new as far as the policy lets them."""
    given = {first: dict(tables) for first, tables in counts.pairs.items()}
    new = [pair for pair in pairs if pair[1] not in given.get(pair[0], {})]
    num_left = max(0, policy.max_pairs - sum(map(len, given.values())))
    for first, second in new[:num_left]:
        given.setdefault(first, {})[second] = _count_pair(records, policy, (first, second))
    return replace(counts, pairs=given)


def _count_pair(
    records: Records, policy: StatisticsPolicy, pair: Pair
) -> dict[str, dict[str, Count]]:
    """A table of two. Without noise, a tenth of the patients is missing, so that no sum beside it tells a small count."""
    is_counted = np.ones(len(records), dtype=np.bool_)
    if policy.epsilon is None and policy.min_cell > 1:
        is_counted = ~left_out(records.patients, " ".join(pair))
    exact = patients_by_pair(records, pair, is_counted)
    cells = iter(_disclose(exact, None, records, policy))
    rows, columns = (pair_layout(records.findings)[name] for name in pair)
    return {value: {other: next(cells) for other in columns} for value in rows}


def _disclose(
    counts: Sequence[int], total: int | None, records: Records, policy: StatisticsPolicy
) -> tuple[Count, ...]:
    """What may be said of one table, of so many patients; None: of a number that nobody outside knows."""
    if policy.epsilon is not None:
        scale = noise_scale(records.findings, policy.epsilon, policy.max_pairs)
        noisy = [min(each + draw_discrete_laplace(scale), MAX_COUNT) for each in counts]
        return withhold_below(noisy, min_cell=policy.min_cell)
    if total is None:
        return in_steps(counts, min_cell=policy.min_cell)
    return withhold_small(counts, total=total, min_cell=policy.min_cell)


def _only(given: PairTables, pairs: Sequence[Pair], findings: tuple[str, ...]) -> PairTables:
    """The pairs asked for; those that were not given withhold every count."""
    shape = pair_layout(findings)
    tables: dict[str, dict[str, Mapping[str, Mapping[str, Count]]]] = {}
    for first, second in pairs:
        nothing = {value: dict.fromkeys(shape[second]) for value in shape[first]}
        tables.setdefault(first, {})[second] = given.get(first, {}).get(second, nothing)
    return tables


def _read(path: Path) -> SiteCounts | None:
    return SiteCounts(**json.loads(path.read_text())) if path.exists() else None


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
    limits = [policy.min_cell, policy.epsilon, policy.max_pairs]
    facts = [layout(records.findings), FILES, files, limits]
    digest.update(json.dumps(facts).encode())
    return digest.hexdigest()
