"""The soft shapes and textures that phantom radiographs are made of.

A picture's coordinates run from -1 to 1, x to the right and y down. All arrays are float32.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Field = NDArray[np.floating]
"""Numbers over the picture, float32 (row, column) or broadcastable to it."""

_NUM_BRANCHES = 10
_MAX_GENERATION = 5
_MIN_VESSEL_WIDTH = 0.0018


def smooth_step(ramp: Field) -> Field:
    """0 below 0, 1 above 1, and a smooth S between."""
    clipped = np.clip(ramp, 0.0, 1.0)
    return clipped * clipped * (3.0 - 2.0 * clipped)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Grid:
    """Coordinates of the pixels of a square picture."""

    size: int
    """Pixels."""
    x: Field
    """(1, size)."""
    y: Field
    """(size, 1)."""

    @classmethod
    def of_size(cls, size: int) -> "Grid":
        """The grid of a picture with `size` pixels a side."""
        steps = np.linspace(-1.0, 1.0, size, dtype=np.float32)
        return cls(size=size, x=steps[None, :], y=steps[:, None])

    def to_pixels(self, *points: tuple[float, float]) -> list[tuple[float, float]]:
        """Points (x, y) as pixel positions."""
        half = self.size / 2
        return [((x + 1.0) * half, (y + 1.0) * half) for x, y in points]


def soft_ellipse(
    x: Field,
    y: Field,
    *,
    center: tuple[float, float],
    radii: tuple[float, float],
    softness: float,
    angle: float = 0.0,
) -> Field:
    """1 inside an ellipse, 0 outside; the edge is `softness` of the radius wide on either side."""
    cosine, sine = float(np.cos(angle)), float(np.sin(angle))
    across, down = x - center[0], y - center[1]
    u = (cosine * across + sine * down) / radii[0]
    v = (cosine * down - sine * across) / radii[1]
    return smooth_step((1.0 + softness - np.sqrt(u * u + v * v)) / (2.0 * softness))


def smooth_curve(y: Field, knots: dict[float, float]) -> Field:
    """A smooth function of y through the knots {y: value}, of the shape of y, (size, 1)."""
    heights = y[:, 0].astype(np.float64)
    spacing = heights[1] - heights[0]
    reach = max(1, round(1.0 / 12.0 / spacing))
    window = np.hanning(2 * reach + 3)[1:-1]
    lead = spacing * np.arange(1, reach + 1)
    extended = np.concatenate([heights[0] - lead[::-1], heights, heights[-1] + lead])
    values = np.interp(extended, list(knots), list(knots.values()))
    smoothed = np.convolve(values, window / window.sum(), "valid")
    return smoothed[:, None].astype(np.float32)


def blotches(rng: np.random.Generator, *, size: int, cells: int) -> Field:
    """Smooth random field, standard normal at cells x cells knots, (size, size)."""
    weights = _interpolation(size, cells)
    knots = rng.standard_normal((cells, cells), dtype=np.float32)
    return weights @ knots @ weights.T


def _interpolation(size: int, cells: int) -> Field:
    """Matrix (size, cells) that interpolates smoothly between knots."""
    place = np.linspace(0.0, cells - 1.0, size)
    below = np.minimum(place.astype(np.int64), cells - 2)
    share = smooth_step((place - below).astype(np.float32))
    weights = np.zeros((size, cells), np.float32)
    weights[np.arange(size), below] = 1.0 - share
    weights[np.arange(size), below + 1] = share
    return weights


def vessel_tree(rng: np.random.Generator, *, size: int) -> Field:
    """Both lungs' vessels, branching outwards from the hila; mean brightness removed, (size, size)."""
    canvas = 2 * size
    drawn = np.zeros((canvas, canvas), np.float32)
    for side in (-1, 1):
        layer = Image.new("L", (canvas, canvas), 0)
        _draw_vessels(ImageDraw.Draw(layer), rng, side=side, canvas=canvas)
        drawn += np.asarray(layer.filter(ImageFilter.GaussianBlur(canvas / 440)), np.float32)
    picture = Image.fromarray(drawn / 255.0).resize((size, size), Image.Resampling.BOX)
    coarse = max(1, size // 12)
    background = picture.resize((coarse, coarse), Image.Resampling.BOX)
    background = background.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(picture, np.float32) - 0.8 * np.asarray(background, np.float32)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Branch:
    """A vessel still to be drawn."""

    start: tuple[float, float]
    direction: float
    width: float
    length: float
    generation: int


def _draw_vessels(
    draw: ImageDraw.ImageDraw, rng: np.random.Generator, *, side: int, canvas: int
) -> None:
    hilum = (side * rng.uniform(0.17, 0.23), rng.uniform(-0.10, 0.10))
    directions = np.linspace(-1.35, 1.45, _NUM_BRANCHES) + rng.normal(0.0, 0.12, _NUM_BRANCHES)
    pending = [
        _Branch(
            start=hilum,
            direction=float(direction),
            width=rng.uniform(0.013, 0.019),
            length=rng.uniform(0.55, 0.85),
            generation=0,
        )
        for direction in directions
    ]
    while pending:
        branch = pending.pop()
        end = _draw_branch(draw, rng, branch, side=side, canvas=canvas)
        if branch.generation < _MAX_GENERATION and branch.width > _MIN_VESSEL_WIDTH:
            pending += [_fork(rng, branch, end, turn=turn) for turn in (1, -1)]


def _draw_branch(
    draw: ImageDraw.ImageDraw,
    rng: np.random.Generator,
    branch: _Branch,
    *,
    side: int,
    canvas: int,
    num_segments: int = 6,
) -> tuple[float, float]:
    """Draw a slightly winding line and return where it ends."""
    here, direction = branch.start, branch.direction
    step = branch.length * 0.4 / num_segments
    points = [here]
    for _ in range(num_segments):
        direction += rng.normal(0.0, 0.16)
        here = (
            here[0] + side * float(np.cos(direction)) * step,
            here[1] + float(np.sin(direction)) * step,
        )
        points.append(here)
    brightness = int(60 + 190 * min(1.0, branch.width / 0.016))
    pixels = [((x + 1) * canvas / 2, (y + 1) * canvas / 2) for x, y in points]
    draw.line(pixels, fill=brightness, width=max(1, round(branch.width * canvas / 2)))
    return here


def _fork(
    rng: np.random.Generator, parent: _Branch, start: tuple[float, float], *, turn: int
) -> _Branch:
    return _Branch(
        start=start,
        direction=parent.direction + turn * rng.uniform(0.15, 0.5),
        width=parent.width * rng.uniform(0.55, 0.72),
        length=parent.length * rng.uniform(0.62, 0.85),
        generation=parent.generation + 1,
    )
