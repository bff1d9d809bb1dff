"""What an import did, counted: per hospital, and by what became of each radiograph."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from simulation.public_sets.partition import HELD_OUT
from simulation.public_sets.record import PublicRecord

_PROBLEMS = {"missing_column": "findings are not told"}


class Fate(StrEnum):
    """What became of one radiograph."""

    WRITTEN = "written"
    KEPT = "kept"
    """Written by an earlier run."""
    MISSING = "missing"
    UNREADABLE = "unreadable"
    IN_COLOUR = "in colour"

    @property
    def is_there(self) -> bool:
        """Whether the hospital has it."""
        return self in {Fate.WRITTEN, Fate.KEPT}


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteSummary:
    """What one hospital got."""

    num_records: int
    num_patients: int
    """Patients dealt to it, also those without a usable radiograph."""
    num_present: Mapping[str, int]
    """Radiographs that show each finding, as their labels say."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportSummary:
    """What an import did."""

    sites: Mapping[str, SiteSummary]
    """By name; the held-out set too."""
    fates: Mapping[Fate, int]
    label_problems: Mapping[str, int]
    """What was odd in the set's own labels, and how often."""

    @property
    def num_records(self) -> int:
        """Radiographs that hospitals have now."""
        return sum(site.num_records for site in self.sites.values())

    def facts(self) -> dict[str, object]:
        """For programs."""
        return {
            "sites": {
                name: {
                    "records": site.num_records,
                    "patients": site.num_patients,
                    "present": dict(site.num_present),
                }
                for name, site in self.sites.items()
            },
            "radiographs": {fate.value: count for fate, count in self.fates.items()},
            "label_problems": dict(self.label_problems),
        }

    def text(self) -> str:
        """For people."""
        width = max(map(len, self.sites))
        lines = [
            f"  {name:{width}}  {site.num_records:7} radiographs of {site.num_patients} patients"
            for name, site in self.sites.items()
        ]
        unused = [f"{count} {fate}" for fate, count in self.fates.items() if not fate.is_there]
        lines += [f"  not used: {', '.join(unused)}"] if unused else []
        problems = [
            f"{count} {_PROBLEMS.get(name, name.replace('_', ' '))}"
            for name, count in self.label_problems.items()
        ]
        lines += [f"  of the labels: {', '.join(problems)}"] if problems else []
        return "\n".join(lines)


@dataclass(slots=True)
class Counts:
    """Counts while they grow."""

    fates: Counter[Fate] = field(default_factory=Counter)
    records: Counter[str] = field(default_factory=Counter)
    present: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, site: str, record: PublicRecord, fate: Fate) -> None:
        """Count one radiograph."""
        self.fates[fate] += 1
        if fate.is_there:
            self.records[site] += 1
            states = record.findings.items()
            self.present[site].update(name for name, state in states if state == "present")

    @property
    def num_done(self) -> int:
        """Radiographs dealt with."""
        return sum(self.fates.values())

    def summary(self, sites: Mapping[str, str], label_problems: Mapping[str, int]) -> ImportSummary:
        """All of it, given which patient is dealt to which hospital."""
        patients = Counter(sites.values())
        return ImportSummary(
            sites={
                name: SiteSummary(
                    num_records=self.records[name],
                    num_patients=patients[name],
                    num_present=dict(self.present[name].most_common()),
                )
                for name in sorted(patients, key=lambda name: (name == HELD_OUT, name))
            },
            fates=dict(self.fates.most_common()),
            label_problems=label_problems,
        )
