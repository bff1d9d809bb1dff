"""Dealing the patients of a public set to hospitals: every patient, with all radiographs, goes to exactly one."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from model.conditioning import FINDINGS, NUM_SITES
from simulation.public_sets.groups import by_value, first_age_band
from simulation.public_sets.record import PublicRecord
from simulation.public_sets.skew import NOTHING, dealt_by_mix, rarest_findings

ATTRIBUTES = ("view", "sex", "age", "race", "manufacturer")
WAYS = (*ATTRIBUTES, "finding", "random", "dirichlet")
HELD_OUT = "held-out"

_DEFAULT_SITES = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Partition:
    """How patients are dealt."""

    by: str
    """An attribute, `finding`, `random` for nothing but chance, `dirichlet` for a skewed mix of findings."""
    num_sites: int | None = None
    """Hospitals; None for one per value of an attribute, two for a finding, and three otherwise."""
    finding: str | None = None
    """For `finding`: patients with it go to one hospital, the others to another."""
    alpha: float = 0.5
    """For `dirichlet`: the smaller, the more hospitals differ; 100 is hardly any difference."""
    held_out: float = 0.1
    """Share of each hospital's patients that is set aside, for judging."""
    seed: int = 0
    """The same seed deals the same patients to the same hospitals."""

    def __post_init__(self) -> None:
        if self.by not in WAYS:
            raise WrongPartition(f"there is no way {self.by!r} to deal: give {', '.join(WAYS)}")
        if self.num_sites is not None and not 1 <= self.num_sites <= NUM_SITES:
            raise WrongPartition(f"{self.num_sites} sites make no study: give 1 to {NUM_SITES}")
        if (self.by == "finding") != (self.finding is not None):
            raise WrongPartition("give --finding NAME with --by finding, and only with it")
        if self.finding is not None and self.finding not in FINDINGS:
            raise WrongPartition(f"no finding {self.finding!r}: give one of {', '.join(FINDINGS)}")
        if self.alpha <= 0.0 or not 0.0 < self.held_out <= 0.9:
            raise WrongPartition("alpha must be greater than 0, and held-out too, up to 0.9")


class WrongPartition(ValueError):
    """A way of dealing that makes no sense."""


class PartitionImpossible(ValueError):
    """The set cannot be dealt as asked."""

    def __init__(self, by: str, *, num_groups: int, num_sites: int) -> None:
        groups = "1 group" if num_groups == 1 else f"{num_groups} groups"
        super().__init__(
            f"patients cannot be dealt to {num_sites} sites by {by}: they fall into {groups}. "
            "Give fewer --sites, or another --by."
        )


def deal(records: Iterable[PublicRecord], partition: Partition) -> dict[str, str]:
    """Patient -> name of a hospital, or `held-out`; the records are gone through once.

    Raises:
        PartitionImpossible: if the patients do not differ enough for so many hospitals.
    """
    facts = _facts(records, partition)
    rng = np.random.default_rng(partition.seed)
    if partition.by in {"random", "dirichlet"}:
        sites = _by_chance(facts, partition, rng)
    else:
        sites = _by_attribute(facts, partition)
    return _with_held_out(sites, partition.held_out, rng)


def _facts(records: Iterable[PublicRecord], partition: Partition) -> Mapping[str, Counter[str]]:
    """Patient -> how many of the patient's radiographs show each value."""
    facts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for record in records:
        facts[record.patient].update(_shown(record, partition))
    return dict(sorted(facts.items()))


def _shown(record: PublicRecord, partition: Partition) -> Sequence[str]:
    """What one radiograph says of that by which patients are dealt."""
    match partition.by:
        case "random":
            return ()
        case "dirichlet":
            return [name for name, state in record.findings.items() if state == "present"]
        case "finding":
            present = record.findings.get(partition.finding or "") == "present"
            return [f"with-{partition.finding}"] if present else []
        case "age":
            return [] if record.age is None else [f"{int(record.age):03d}"]
        case attribute:
            value = getattr(record, attribute)
            return [] if value is None else [f"{attribute}-{value}"]


def _by_attribute(facts: Mapping[str, Counter[str]], partition: Partition) -> dict[str, str]:
    num_sites = partition.num_sites
    if partition.by == "age":
        num_sites = num_sites or _DEFAULT_SITES
        values = first_age_band(facts, num_sites)
    else:
        silent = f"without-{partition.finding}" if partition.finding else f"{partition.by}-unknown"
        values = {p: seen.most_common(1)[0][0] if seen else silent for p, seen in facts.items()}
    if partition.by == "finding":
        num_sites = num_sites or 2
    num_groups = len(set(values.values()))
    if num_groups < (num_sites or 1):
        raise PartitionImpossible(partition.by, num_groups=num_groups, num_sites=num_sites or 1)
    return by_value(values, num_sites)


def _by_chance(
    facts: Mapping[str, Counter[str]], partition: Partition, rng: np.random.Generator
) -> dict[str, str]:
    num_sites = partition.num_sites or _DEFAULT_SITES
    if len(facts) < num_sites:
        raise PartitionImpossible(partition.by, num_groups=len(facts), num_sites=num_sites)
    skewed = partition.by == "dirichlet"
    classes = rarest_findings(facts) if skewed else dict.fromkeys(facts, NOTHING)
    return dealt_by_mix(classes, num_sites, partition.alpha, rng)


def _with_held_out(
    sites: Mapping[str, str], share: float, rng: np.random.Generator
) -> dict[str, str]:
    """Set aside a share of every hospital's patients; a hospital always keeps one."""
    members: defaultdict[str, list[str]] = defaultdict(list)
    for patient, site in sorted(sites.items()):
        members[site].append(patient)
    aside = {
        str(patient)
        for _, patients in sorted(members.items())
        for patient in rng.permutation(patients)[: _num_held_out(len(patients), share)]
    }
    return {patient: HELD_OUT if patient in aside else site for patient, site in sites.items()}


def _num_held_out(num_patients: int, share: float) -> int:
    return min(max(1, round(share * num_patients)), num_patients - 1)
