"""Lines over rounds as plain geometry, for a template to draw as SVG: no script, no library, no colour decided here."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

WIDTH, HEIGHT = 640, 240
LEFT, RIGHT, TOP, BOTTOM = 76, 14, 12, 30
"""Margins, for the labels of the axes."""
NUM_TICKS = 5
NICE = (1.0, 2.0, 2.5, 5.0, 10.0)
MIN_ROOM = 1e-6
"""Around one value alone, however small it is."""
MAX_DRAWN = 1e15
"""No loss is so large. Hospitals say what theirs is, and nothing they say may keep the others' from being drawn."""

Point = tuple[int, float | None]
"""Round, value; what is no number, or far too large, leaves a gap."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One curve as it was measured."""

    name: str
    kind: str
    """What the template makes of it: a class of the style sheet."""
    points: Sequence[Point]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tick:
    """A label of an axis, and where."""

    at: float
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """One curve as it is drawn."""

    name: str
    kind: str
    path: str
    """The ``d`` of an SVG path."""
    dots: tuple[tuple[float, float], ...]
    """Every point without neighbours, which no stroke would show, and the last one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """Everything a template needs."""

    curves: tuple[Curve, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def line_chart(lines: Sequence[Line], *, num_rounds: int) -> Chart | None:
    """Lay curves out over the rounds 1 to ``num_rounds``; None if there is nothing to draw."""
    values = [value for line in lines for _, value in line.points if _is_drawn(value)]
    if not values:
        return None
    low, high, step = _span(values)
    last = max(2, num_rounds)

    def x_of(number: int) -> float:
        return round(LEFT + (number - 1) / (last - 1) * (WIDTH - LEFT - RIGHT), 1)

    def y_of(value: float) -> float:
        return round(TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    def place(line: Line) -> Curve:
        runs = [[(x_of(n), y_of(v)) for n, v in run] for run in _runs(line.points)]
        alone = [run[0] for run in runs if len(run) == 1]
        ends = [runs[-1][-1]] if runs else []
        path = "".join(_path(run) for run in runs)
        return Curve(name=line.name, kind=line.kind, path=path, dots=tuple({*alone, *ends}))

    count = round((high - low) / step)
    heights = [low + index * step for index in range(count + 1)]
    digits = max(0, -math.floor(math.log10(step)) + (1 if f"{step:e}".startswith("2.5") else 0))
    return Chart(
        curves=tuple(map(place, lines)),
        across=tuple(Tick(at=x_of(n), text=str(n)) for n in _whole_ticks(last)),
        up=tuple(Tick(at=y_of(value), text=f"{value:.{digits}f}") for value in heights),
    )


def _is_drawn(value: float | None) -> TypeGuard[float]:
    return value is not None and abs(value) < MAX_DRAWN  # NaN is not


def _span(values: Sequence[float]) -> tuple[float, float, float]:
    """Lowest and highest label around the values, and the distance between two labels."""
    low, high = min(values), max(values)
    if high - low < 1e-9 * max(1.0, abs(high)):
        room = 0.5 * max(abs(high), MIN_ROOM)
        low, high = low - room, high + room
    step = _nice((high - low) / (NUM_TICKS - 1))
    return math.floor(low / step) * step, math.ceil(high / step) * step, step


def _nice(rough: float) -> float:
    """The next larger of 1, 2, 2.5, 5 and their multiples by ten."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in NICE if factor * power >= rough * (1 - 1e-9))


def _whole_ticks(last: int) -> list[int]:
    step = max(1, math.ceil(_nice((last - 1) / 8)))
    inner = [number for number in range(step, last, step) if number > 1]
    return sorted({1, *(number for number in inner if last - number > step / 2), last})


def _runs(points: Sequence[Point]) -> list[list[tuple[int, float]]]:
    """Stretches of consecutive rounds that have a value."""
    runs: list[list[tuple[int, float]]] = []
    for number, value in points:
        if not _is_drawn(value):
            continue
        if runs and runs[-1][-1][0] == number - 1:
            runs[-1].append((number, value))
        else:
            runs.append([(number, value)])
    return runs


def _path(run: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in run)
