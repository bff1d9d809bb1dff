"""A stress test's result: a page with pictures, and the same numbers as JSON beside it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, select_autoescape
from torch import Tensor

from federation.files import write_file
from synthesis.inline_pictures import grey_values, png
from synthesis.number_format import between, count, number
from synthesis.stress.concerns import concerns
from synthesis.stress.figures import MATERIAL
from synthesis.stress.pairs import Pairs
from synthesis.stress.run import REAL, StressResult

REPORT_PAGE = "report.html"
REPORT_JSON = "report.json"
BRIGHTER = 2.0
"""How much stronger than it is a difference is shown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Triptych:
    """A pair of pictures and what is different, as PNG in base64, with the classifier's scores."""

    before: str
    after: str
    difference: str
    score_before: float
    score_after: float


def to_json(result: StressResult, made_with: Mapping[str, object]) -> dict[str, object]:
    """Every number; what could not be told is null."""
    content = {
        "made_with": dict(made_with),
        "concerns": [asdict(concern) for concern in concerns(result)],
        "tables": [asdict(table) for table in result.tables],
        "has_reference": result.has_reference,
        "edits": [
            {
                "title": edits.title,
                "flips": [asdict(flips) for flips in edits.flips],
            }
            for edits in result.edits
        ],
    }
    plain: dict[str, object] = json.loads(json.dumps(content), parse_constant=lambda _: None)
    return plain


def write_report(result: StressResult, made_with: Mapping[str, object], folder: Path) -> Path:
    """Write the page and the JSON so that only their owner can read them; gives the page.

    Args:
        result: what was found.
        made_with: choices and digests, for the last lines of the page.
        folder: gets both.
    """
    environment = Environment(
        loader=PackageLoader("synthesis.stress"), autoescape=select_autoescape(default=True)
    )
    environment.filters |= {"number": number, "between": between, "count": count}
    page = environment.get_template("report.html").render(
        result=result,
        own=[concern for concern in concerns(result) if not concern.shared],
        shared=[concern for concern in concerns(result) if concern.shared],
        made_with=made_with,
        has_real=any(table.title == REAL for table in result.tables),
        material=MATERIAL,
        triptychs={
            edits.title: [(pairs.change.what, _triptychs(pairs)) for pairs in edits.pairs]
            for edits in result.edits
        },
        sample=[png(grey) for grey in grey_values(result.sample)],
    )
    content = json.dumps(to_json(result, made_with), indent=2) + "\n"
    write_file(folder / REPORT_JSON, content.encode())
    write_file(folder / REPORT_PAGE, page.encode())
    return folder / REPORT_PAGE


def _triptychs(pairs: Pairs) -> list[Triptych]:
    return [
        Triptych(
            before=_inline(before),
            after=_inline(after),
            difference=_inline((after - before) * BRIGHTER / 2),
            score_before=float(pairs.before[0, place]),
            score_after=float(pairs.after[0, place]),
        )
        for place, before, after in pairs.shown
    ]


def _inline(picture: Tensor) -> str:
    return png(grey_values(picture)[0])
