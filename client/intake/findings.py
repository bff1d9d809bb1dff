"""What labels and structured reports say, joined to the radiographs that they speak of through opaque keys."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from client.intake.opaque import ReportFacts, Table
from client.labels.agreement import agreed
from model.conditioning import FINDING_STATES

States = Mapping[str, str]
"""Finding -> state."""

_NOTHING: States = {}


@dataclass(frozen=True, kw_only=True, slots=True)
class Joined:
    """What is known of n records from labels and reports."""

    ids: NDArray[np.float32]
    """(n, finding): the state's id, 0 for unknown."""
    labelled: NDArray[np.bool_]
    """(n,): whether a row or a report speaks of the record."""
    num_conflicts: int
    """Findings of a study of which a report says something else than the labels or another report."""


class Reports:
    """Structured reports, found by the radiographs that they speak of."""

    def __init__(self, reports: Sequence[ReportFacts]) -> None:
        self._by_study: dict[int, list[ReportFacts]] = {}
        self._by_accession: dict[int, list[ReportFacts]] = {}
        for report in sorted(reports, key=_sort_key):
            self._by_study.setdefault(report.study, []).append(report)
            self._by_accession.setdefault(report.accession, []).append(report)

    def of(self, record: np.void) -> list[ReportFacts]:
        """Reports on a record's study, else on its accession number; never on another patient."""
        study, accession = int(record["study"]), int(record["accession"])
        found = self._by_study.get(study, []) if study else []
        if not found and accession:
            found = self._by_accession.get(accession, [])
        patient = int(record["patient_id"])
        return [report for report in found if {report.patient_id, patient} - {0, patient} == set()]


def join_findings(
    table: Table,
    rows: Sequence[States | None],
    reports: Sequence[ReportFacts],
    findings: tuple[str, ...],
) -> Joined:
    """Put together what is said of each record; where labels and a report differ, the labels count.

    Args:
        table: n records.
        rows: What the labels say of each; None where they have no row.
        reports: All reports of the hospital.
        findings: Columns of the result.
    """
    library = Reports(reports)
    ids = np.zeros((len(table), len(findings)), np.float32)
    labelled = np.zeros(len(table), np.bool_)
    conflicts: set[tuple[int, str]] = set()
    for index, (record, row) in enumerate(zip(table, rows, strict=True)):
        on_record = library.of(record)
        states, disputed = _weigh(row or _NOTHING, on_record)
        conflicts |= {(int(record["study"]), finding) for finding in disputed}
        ids[index] = [_id(states.get(finding)) for finding in findings]
        labelled[index] = row is not None or bool(on_record)
    num_conflicts = sum(finding in findings for _, finding in conflicts)
    return Joined(ids=ids, labelled=labelled, num_conflicts=num_conflicts)


def _weigh(row: States, reports: Sequence[ReportFacts]) -> tuple[States, set[str]]:
    """States of one record, and the findings that are disputed."""
    reported: States = _NOTHING
    among_reports: set[str] = set()
    for report in reports:
        agreement = agreed(reported, report.states)
        reported, among_reports = agreement.states, among_reports | agreement.disputed
    undisputed = {name: state for name, state in reported.items() if name not in among_reports}
    agreement = agreed(row, undisputed)
    kept = {finding: row[finding] for finding in agreement.disputed}
    return {**agreement.states, **kept}, among_reports | agreement.disputed


def _id(state: str | None) -> int:
    return FINDING_STATES.index(state) + 1 if state in FINDING_STATES else 0


def _sort_key(report: ReportFacts) -> tuple[int, int, int, list[tuple[str, str]]]:
    return report.study, report.accession, report.patient_id, sorted(report.states.items())
