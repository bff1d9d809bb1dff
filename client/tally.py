"""What an ingest found, in numbers that say nothing about any one patient."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from client.dicom.outcome import Flag
from client.dicom.rejection import Reason, describe_count
from client.labels.table import LabelProblem


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """Counts over all sources. For the hospital's own eyes: small counts stay in the house."""

    num_files: int
    """Items looked at; every one is usable, refused for one reason, or a report."""
    num_usable: int
    refused: Mapping[Reason, int]
    num_patients: int
    """Patients with a usable radiograph; all without an id count as one."""
    num_held_out: int
    """Usable radiographs kept away from training."""
    num_labelled: int = 0
    """Usable radiographs of which a row of the labels or a report speaks."""
    label_problems: Mapping[LabelProblem, int] = field(default_factory=dict)
    num_reports: int = 0
    """Structured reports, which have no pixels and tell findings."""
    flags: Mapping[Flag, int] = field(default_factory=dict)
    """Usable radiographs with something to look at."""

    def __str__(self) -> str:
        """One line such as `481 of 490 usable: 4 unreadable, 2 not a chest, 2 duplicates; 1 report`."""
        summary = f"{self.num_usable} of {self.num_files} usable"
        by_count = sorted(self.refused.items(), key=lambda entry: (-entry[1], entry[0].value))
        refusals = ", ".join(describe_count(reason, count) for reason, count in by_count)
        summary = f"{summary}: {refusals}" if refusals else summary
        reports = "1 report" if self.num_reports == 1 else f"{self.num_reports} reports"
        return f"{summary}; {reports}" if self.num_reports else summary

    def to_json(self) -> dict[str, int | dict[str, int]]:
        """Plain numbers under plain names."""
        return {
            "num_files": self.num_files,
            "num_usable": self.num_usable,
            "refused": {reason.value: count for reason, count in sorted(self.refused.items())},
            "num_patients": self.num_patients,
            "num_held_out": self.num_held_out,
            "num_labelled": self.num_labelled,
            "label_problems": {p.value: count for p, count in sorted(self.label_problems.items())},
            "num_reports": self.num_reports,
            "flags": {flag.value: count for flag, count in sorted(self.flags.items())},
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Tally":
        """Read what `to_json` wrote.

        Raises:
            TypeError, ValueError, KeyError: the content is something else.
        """
        refused = {Reason(code): int(count) for code, count in content["refused"].items()}
        problems = {LabelProblem(code): int(n) for code, n in content["label_problems"].items()}
        flags = {Flag(code): int(count) for code, count in content["flags"].items()}
        return cls(**{**content, "refused": refused, "label_problems": problems, "flags": flags})
