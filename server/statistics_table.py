"""The hospitals' counts side by side, and their sums.

A sum is made of what was given and nothing else, so it tells nothing that the columns do not; where a hospital
withheld its count, the sum ends in a plus: there may be more.
"""

from collections.abc import Mapping

from federation.messages import Count, CountsAnswer, Refusal, RefusalCode, SiteCounts
from federation.statistics import FILES, layout, noise_scale
from privacy.discrete_laplace import margin

CONFIDENCE = 0.95
STATES = {RefusalCode.STATISTICS: "not shared", RefusalCode.NO_ANSWER: "no answer"}
Row = tuple[str, str]
"""Attribute and value."""


def state_of(answer: CountsAnswer) -> str:
    """``shared``, ``not shared``, ``no answer`` or ``refused``."""
    return STATES.get(answer.code, "refused") if isinstance(answer, Refusal) else "shared"


def facts(answers: Mapping[str, CountsAnswer], findings: tuple[str, ...]) -> dict[str, object]:
    """Everything, for a program; a withheld count is null."""
    hospitals: dict[str, dict[str, object]] = {}
    for site, answer in answers.items():
        hospitals[site] = {"state": state_of(answer)}
        if isinstance(answer, Refusal):
            hospitals[site]["reason"] = answer.reason
        else:
            counts = {row: _count(answer, row) for row in _rows(findings)}
            hospitals[site] |= {"min_cell": answer.min_cell, "epsilon": answer.epsilon}
            hospitals[site] |= {"max_pairs": answer.max_pairs, "pairs": answer.pairs}
            hospitals[site]["counts"] = _nested(counts)
    sums = {row: _sum(answers, row)[0] or None for row in _rows(findings)}
    return {"findings": findings, "hospitals": hospitals, "sums": _nested(sums)}


def render(answers: Mapping[str, CountsAnswer], findings: tuple[str, ...]) -> str:
    """A column per hospital and a line per count that at least one hospital gave, for a terminal."""
    rows = [row for row in _rows(findings) if _is_given(answers, row)]
    head = ("", "", *answers, "sum")
    lines = [head, *((*row, *_cells(answers, row)) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    shown = [
        "  ".join(
            [cell.ljust(width) for cell, width in zip(line[:2], widths[:2], strict=True)]
            + [cell.rjust(width) for cell, width in zip(line[2:], widths[2:], strict=True)]
        ).rstrip()
        for line in lines
    ]
    notes = [f"{site}: {_note(answer, findings)}" for site, answer in answers.items()]
    return "\n".join([*shown, "", *notes])


def _rows(findings: tuple[str, ...]) -> list[Row]:
    table = [(name, value) for name, values in layout(findings).items() for value in values]
    return [("patients", ""), *table, ("files", ""), *(("files", name) for name in FILES)]


def _count(counts: SiteCounts, row: Row) -> Count:
    attribute, value = row
    if attribute == "patients":
        return counts.num_patients
    if attribute == "files":
        return counts.files[value] if value else counts.num_files
    return counts.table[attribute][value]


def _sum(answers: Mapping[str, CountsAnswer], row: Row) -> tuple[int, bool]:
    """What was given, added up, and whether all who share gave it."""
    counts = [_count(each, row) for each in answers.values() if isinstance(each, SiteCounts)]
    given = [count for count in counts if count is not None]
    return sum(given), len(given) == len(counts)


def _is_given(answers: Mapping[str, CountsAnswer], row: Row) -> bool:
    return row == ("patients", "") or _sum(answers, row)[0] > 0


def _cells(answers: Mapping[str, CountsAnswer], row: Row) -> list[str]:
    total, is_complete = _sum(answers, row)
    return [*(_cell(each, row) for each in answers.values()), _text(total, is_complete)]


def _cell(answer: CountsAnswer, row: Row) -> str:
    if isinstance(answer, Refusal):
        return state_of(answer) if row == ("patients", "") else ""
    count = _count(answer, row)
    if count is not None:
        return str(count)
    return f"<{answer.min_cell}" if _gives_any(answer, row[0]) else "-"


def _gives_any(counts: SiteCounts, attribute: str) -> bool:
    """Whether a count of this attribute was given, so that others are missing because they are small."""
    if attribute == "patients":
        return True
    group = counts.files if attribute == "files" else counts.table[attribute]
    return any(count is not None for count in group.values())


def _text(total: int, is_complete: bool) -> str:  # noqa: FBT001  a fact, not a switch
    return str(total) if is_complete else f"{total}+"


def _note(answer: CountsAnswer, findings: tuple[str, ...]) -> str:
    """What a reader has to know of one column."""
    if isinstance(answer, Refusal):
        return f"{state_of(answer)}: {answer.reason}"
    if answer.epsilon is None:
        step = answer.min_cell
        note = f"counts below {step} are withheld, others rounded down to a multiple of {step}"
        return note + _pairs_note(answer)
    scale = noise_scale(findings, answer.epsilon, answer.max_pairs)
    return (
        f"every count carries noise, in {CONFIDENCE:.0%} of counts no more than "
        f"{margin(scale, confidence=CONFIDENCE)} (epsilon {answer.epsilon:g}); counts below "
        f"{answer.min_cell} and of files are withheld{_pairs_note(answer)}"
    )


def _pairs_note(counts: SiteCounts) -> str:
    """How many tables of two attributes came, of those that were asked for."""
    tables = [table for seconds in counts.pairs.values() for table in seconds.values()]
    given = [
        table
        for table in tables
        if any(count is not None for row in table.values() for count in row.values())
    ]
    return f"; {len(given)} of {len(tables)} tables of two attributes" if tables else ""


def _nested(counts: Mapping[Row, Count]) -> dict[str, object]:
    """Attribute -> value -> count; the numbers of patients and files stand under ``all``."""
    nested: dict[str, dict[str, Count]] = {}
    for (attribute, value), count in counts.items():
        nested.setdefault(attribute, {})[value or "all"] = count
    return dict(nested)
