"""A study's result for people: a table for the terminal, a page without pictures, and JSON for programs."""

import json
from dataclasses import asdict
from pathlib import Path

from federation.files import write_file
from synthesis.number_format import between, count, number, p_value
from synthesis.proportions import fewest_that_differ
from synthesis.reader_study.booklet import Key
from synthesis.reader_study.detection import VERDICTS
from synthesis.reader_study.page import environment
from synthesis.reader_study.scoring import ReaderResult, StudyResult

RESULT_PAGE = "result.html"
RESULT_JSON = "result.json"


def to_json(result: StudyResult) -> dict[str, object]:
    """The result in lists and dictionaries; what could not be told is null."""
    content: dict[str, object] = json.loads(json.dumps(asdict(result)), parse_constant=_null)
    return content


HEADER = (
    *("reader", "presented", "accuracy", "95 %", "p", "sensitivity", "specificity", "AUROC"),
    *("d-prime", "against a coin"),
)


def to_text(result: StudyResult) -> str:
    """Tables for a terminal."""
    title = f"study {result.study}: {result.num_real} real and {result.num_synthetic} synthetic radiographs"
    table = [HEADER, *(_cells(row) for row in result.readers)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in table]
    for heading, estimates in (
        ("mean accuracy", result.together),
        ("kappa of a reader asked twice", result.within),
        ("kappa of two readers", result.between),
    ):
        lines += ["", heading] if estimates else []
        lines += [f"  {row.what}: {number(row.value)} {between(row.interval)}" for row in estimates]
    return "\n".join([title, "", *lines, "", headline(result), detectable(result)])


def _cells(row: ReaderResult) -> tuple[str, ...]:
    found = row.detection
    shares = (found.sensitivity.value, found.specificity.value, found.auroc, found.d_prime)
    return (
        *(str(row.reader), str(row.presentation), number(found.accuracy.value)),
        *(between(found.accuracy.interval), p_value(found.p_value), *map(number, shares)),
        found.verdict,
    )


def headline(result: StudyResult) -> str:
    """The answer to the study's question, in a sentence or two."""
    verdicts = [row.detection.verdict for row in result.readers]
    if len(verdicts) == 1:
        found = result.readers[0].detection
        return f"{count(found.accuracy)} right, which is {found.verdict}."
    counts = [f"{verdicts.count(verdict)} {verdict}" for verdict in VERDICTS if verdict in verdicts]
    return f"Of {len(verdicts)} readings, {', '.join(counts)}."


def detectable(result: StudyResult) -> str:
    """What the study could have shown at all: without it, "not told from chance" says little."""
    total = result.num_real + result.num_synthetic
    fewest = fewest_that_differ(total)
    if fewest is None:
        return f"With {total} radiographs no accuracy could be told from chance."
    return (
        f"With {total} radiographs a reader is told from chance from {fewest} right answers ({number(fewest / total)}) "
        "on; less does not prove that real and synthetic cannot be told apart."
    )


def write_result(result: StudyResult, key: Key, folder: Path) -> Path:
    """Write ``result.json`` and the page beside it; gives the page."""
    templates = environment()
    templates.filters |= {"number": number, "between": between, "count": count, "p_value": p_value}
    page = templates.get_template("result.html").render(
        result=result, key=key, headline=headline(result), detectable=detectable(result)
    )
    write_file(folder / RESULT_JSON, (json.dumps(to_json(result), indent=2) + "\n").encode())
    write_file(folder / RESULT_PAGE, page.encode())
    return folder / RESULT_PAGE


def _null(_: str) -> None:
    return None
