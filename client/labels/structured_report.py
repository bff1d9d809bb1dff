"""A structured report -> findings of its study."""

from collections.abc import Iterable, Mapping

from client.dicom.outcome import Report
from client.labels.report_text import ReportRules


def states_of_report(
    report: Report, rules: ReportRules, findings: Iterable[str]
) -> Mapping[str, str]:
    """States of the findings asked for; none are known of a report without statements.

    The text is read here and goes nowhere else: what comes out is finding -> state.
    """
    return rules.states(report.statements, findings)
