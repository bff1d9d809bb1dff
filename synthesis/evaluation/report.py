"""An evaluation as a page and as JSON, in one folder that is there complete or not at all."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, select_autoescape

from model.evaluation.bootstrap import Interval
from synthesis.evaluation.chart import control_chart, frechet_chart
from synthesis.evaluation.chexgenbench import PUBLISHED, SOURCE
from synthesis.evaluation.estimate import Estimate
from synthesis.evaluation.evaluate import Evaluation
from synthesis.evaluation.pictures import Pictures
from synthesis.proportions import Share

PAGE, FACTS = "report.html", "report.json"
PUBLISHED_ENCODER = "rad-dino"
UNKNOWN = "not known"


class FolderInUse(FileExistsError):
    """There is something where the report shall be."""

    def __init__(self, out: Path) -> None:
        super().__init__(
            f"{out} is there already: give a new folder with --out, or remove that one first"
        )


def write_report(folder: Path, evaluation: Evaluation, pictures: Pictures) -> None:
    """Write ``report.html`` and ``report.json`` into a folder that only its owner can enter."""
    folder.mkdir(mode=0o700)
    facts = json.dumps(to_json(evaluation), indent=2, allow_nan=False) + "\n"
    for name, content in ((PAGE, render(evaluation, pictures)), (FACTS, facts)):
        path = folder / name
        path.touch(mode=0o600)
        path.write_text(content, encoding="utf-8")


def render(evaluation: Evaluation, pictures: Pictures) -> str:
    """The page; it needs neither a network nor a script."""
    environment = Environment(
        loader=PackageLoader("synthesis"), autoescape=select_autoescape(default=True)
    )
    environment.filters |= {
        "number": number,
        "estimate": with_interval,
        "bare": without_interval,
        "signed": signed,
        "percent": percent,
        "words": lambda name: str(name).replace("_", " "),
    }
    curve = evaluation.steps
    return environment.get_template("evaluation.html").render(
        e=evaluation,
        setup=evaluation.setup,
        pictures=pictures,
        ranges=("precision", "recall", "density", "coverage"),
        published=[PUBLISHED if fits else () for fits in meets_published(evaluation)],
        published_source=SOURCE,
        charts=(frechet_chart(curve), control_chart(curve)) if curve else (),
    )


def meets_published(evaluation: Evaluation) -> list[bool]:
    """Of each encoder, whether the published table was made in the same way and with the same kind."""
    setup = evaluation.setup
    follows = setup.protocol == "chexgenbench"
    return [follows and encoder == PUBLISHED_ENCODER for encoder in setup.encoders]


def to_json(value: object) -> object:
    """Plain data with every number, and every verdict; what is not a number is null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if is_dataclass(value):
        found = {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
        verdict = getattr(value, "verdict", None)
        return found if verdict is None else {"verdict": verdict, **found}
    if isinstance(value, Mapping):
        return {str(name): to_json(one) for name, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [to_json(one) for one in value]
    return value


def number(value: float | None) -> str:
    """Three digits that count."""
    if value is None or math.isnan(value):
        return UNKNOWN
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def without_interval(value: Estimate) -> str:
    """A measure alone."""
    return UNKNOWN if math.isnan(value.value) else f"{value.value:.2f}"


def with_interval(value: Estimate) -> str:
    """A measure and its interval."""
    if math.isnan(value.value):
        return UNKNOWN
    return f"{value.value:.2f} ({_ends(value.interval, 1)})"


def signed(value: Estimate) -> str:
    """A difference and its interval."""
    if math.isnan(value.value):
        return UNKNOWN
    low, high = value.interval.low, value.interval.high
    return f"{value.value:+.2f} ({low:+.2f} to {high:+.2f})"


def percent(value: Share) -> str:
    """A share and its interval."""
    if math.isnan(value.value):
        return UNKNOWN
    ends = (100 * value.interval.low, 100 * value.interval.high)
    digits = 0 if ends[0] >= 10 else 1
    low, high = (f"{end:.{digits}f}" for end in ends)
    return f"{100 * value.value:.{digits}f} % ({low} to {high})"


def _ends(interval: Interval, scale: float) -> str:
    return f"{scale * interval.low:.2f} to {scale * interval.high:.2f}"
