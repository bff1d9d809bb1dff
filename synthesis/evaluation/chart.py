"""Quality over sampling steps as the shapes of a drawing, for a page that knows its own colours."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from synthesis.evaluation.steps_curve import MODEL, CurvePoint, StepsCurve

Heights = Callable[[CurvePoint], tuple[float, float, float]]
"""Of a value and of the two ends of its interval."""

WIDTH, HEIGHT = 420.0, 200.0
LEFT, RIGHT, TOP, BOTTOM = 48.0, 12.0, 12.0, 32.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """One measured point and its interval, in units of the drawing."""

    x: float
    y: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One way to walk."""

    name: str
    marks: tuple[Mark, ...]

    @property
    def path(self) -> str:
        """Of an SVG polyline."""
        return " ".join(f"{mark.x:.1f},{mark.y:.1f}" for mark in self.marks)


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """Lines, ticks and at most one level line."""

    title: str
    lines: tuple[Line, ...]
    ticks_x: tuple[tuple[float, str], ...]
    ticks_y: tuple[tuple[float, str], ...]
    level: float | None
    """Height of the floor."""


def frechet_chart(curve: StepsCurve) -> Chart:
    """Frechet distance, logarithmic, with the real-real floor."""
    values = [v for p in curve.points for v in (p.frechet, p.interval.high)]
    low = max(0.8 * min([curve.floor, *(p.frechet for p in curve.points)]), 1e-6)
    high = max(1.1 * max(values), 2 * low)

    def height(value: float) -> float:
        share = math.log(max(value, low) / low) / math.log(high / low)
        return TOP + (1 - min(share, 1.0)) * (HEIGHT - TOP - BOTTOM)

    lines = _lines(
        curve,
        lambda p: (
            height(p.frechet),
            height(p.interval.low),
            height(p.interval.high),
        ),
    )
    ticks = tuple((height(value), f"{value:g}") for value in _nice(low, high))
    return Chart(
        title="Frechet distance; dotted: two halves of the real radiographs",
        lines=lines,
        ticks_x=_steps(curve),
        ticks_y=ticks,
        level=height(curve.floor),
    )


def control_chart(curve: StepsCurve) -> Chart:
    """Mean AUROC that the probe reads, from a half to one."""

    def height(value: float) -> float:
        share = 0.0 if math.isnan(value) else (min(max(value, 0.4), 1.0) - 0.4) / 0.6
        return TOP + (1 - share) * (HEIGHT - TOP - BOTTOM)

    lines = _lines(
        curve,
        lambda p: (
            height(p.control.value),
            height(p.control.interval.low),
            height(p.control.interval.high),
        ),
    )
    ticks = tuple((height(value / 10), f"{value / 10:g}") for value in range(4, 11))
    return Chart(
        title="Mean AUROC of what the probe reads back; dotted: guessing",
        lines=lines,
        ticks_x=_steps(curve),
        ticks_y=ticks,
        level=height(0.5),
    )


def _lines(curve: StepsCurve, heights: Heights) -> tuple[Line, ...]:
    found = []
    for model, method in dict.fromkeys((point.model, point.method) for point in curve.points):
        marks = []
        for point in curve.points:
            if (point.model, point.method) == (model, method):
                y, low, high = heights(point)
                marks.append(Mark(x=_place(curve, point.num_steps), y=y, low=low, high=high))
        name = method if model == MODEL else f"{model}, {method}"
        found.append(Line(name=name, marks=tuple(marks)))
    return tuple(found)


def _steps(curve: StepsCurve) -> tuple[tuple[float, str], ...]:
    counts = sorted({point.num_steps for point in curve.points})
    return tuple((_place(curve, count), str(count)) for count in counts)


def _place(curve: StepsCurve, num_steps: int) -> float:
    """Steps on a logarithmic axis."""
    last = max(point.num_steps for point in curve.points)
    share = math.log2(num_steps) / max(math.log2(last), 1.0)
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _nice(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten in a range."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    values = [digit * 10.0**power for power in range(first, last + 1) for digit in (1, 2, 5)]
    return [value for value in values if low <= value <= high]
