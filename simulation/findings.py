"""One visible sign for each of the fourteen findings, painted over a chest.

Cardiomegaly and an enlarged cardiomediastinum are drawn as anatomy, because they move boundaries.
"""

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from simulation.anatomy import Chest
from simulation.texture import Field, Grid, blotches, smooth_step, soft_ellipse


@dataclass(kw_only=True, slots=True, eq=False)
class Layers:
    """What lies between the boundaries; the signs change these in place."""

    grid: Grid
    air: Field
    """How much of the slab is air, 0 to about 1.2."""
    opacity: Field
    """Density added."""
    vessels: Field
    """Strength of the vessel markings."""
    rib_shift: Field
    """How far ribs are displaced, in rib spacings."""
    haze: Field
    """Smooth random field of the study, about standard normal."""


Sign = Callable[[Chest, Layers, np.random.Generator], None]


def paint_findings(
    findings: AbstractSet[str], chest: Chest, layers: Layers, rng: np.random.Generator
) -> None:
    """Paint the signs of all findings that have one, in alphabetical order."""
    for finding in sorted(findings & _SIGNS.keys()):
        _SIGNS[finding](chest, layers, rng)


def _side(rng: np.random.Generator) -> int:
    """-1 is the patient's right, 1 the left."""
    return -1 if rng.random() < 0.5 else 1


def _half(chest: Chest, side: int) -> Field:
    return (chest.x * side > 0).astype(np.float32)


def _blob(
    chest: Chest,
    rng: np.random.Generator,
    *,
    x: tuple[float, float],
    y: tuple[float, float],
    radii: tuple[tuple[float, float], tuple[float, float]],
    softness: float,
) -> Field:
    """A soft ellipse somewhere in one lung; all arguments but the softness are ranges."""
    center = (_side(rng) * rng.uniform(*x), rng.uniform(*y))
    size = (rng.uniform(*radii[0]), rng.uniform(*radii[1]))
    angle = rng.uniform(-0.6, 0.6)
    return soft_ellipse(chest.x, chest.y, center=center, radii=size, softness=softness, angle=angle)


def _atelectasis(chest: Chest, layers: Layers, rng: np.random.Generator) -> None:
    """Plates of collapsed lung above the diaphragm, and a dimmer base on that side."""
    side = _side(rng)
    center_x, center_y = (
        side * rng.uniform(0.34, 0.44),
        chest.diaphragm_line - rng.uniform(0.22, 0.30),
    )
    for plate in range(int(rng.integers(3, 5))):
        band = soft_ellipse(
            chest.x,
            chest.y,
            center=(center_x + rng.uniform(-0.05, 0.05), center_y - 0.085 * plate),
            radii=(rng.uniform(0.18, 0.24), rng.uniform(0.016, 0.024)),
            softness=0.5,
            angle=side * rng.uniform(-0.25, 0.15),
        )
        layers.opacity += rng.uniform(0.16, 0.22) * band * chest.free_lung
    layers.opacity += 0.05 * _half(chest, side) * smooth_step((chest.y - 0.05) * 2.0) * chest.lung


def _consolidation(chest: Chest, layers: Layers, rng: np.random.Generator) -> None:
    """A dense, well filled region in which the vessels disappear."""
    filled = _blob(
        chest,
        rng,
        x=(0.30, 0.48),
        y=(-0.32, 0.20),
        radii=((0.19, 0.27), (0.16, 0.22)),
        softness=0.25,
    )
    filled *= chest.free_lung
    layers.opacity += rng.uniform(0.24, 0.30) * filled * (1.0 + 0.15 * layers.haze)
    layers.vessels *= 1.0 - 0.9 * filled


def _edema(chest: Chest, layers: Layers, rng: np.random.Generator) -> None:
    """Bat wings: both hila veiled, vessels swollen."""
    from_hilum = np.sqrt(np.square(np.abs(chest.x) - 0.22) + 0.6 * np.square(chest.y - 0.05))
    wings = smooth_step((0.66 - from_hilum) * 2.0)
    size = layers.grid.size
    grain = blotches(rng, size=size, cells=max(16, size // 5))
    layers.opacity += chest.free_lung * (wings * (0.16 + 0.04 * layers.haze) + 0.03 * grain)
    layers.vessels *= 1.6


def _fracture(chest: Chest, layers: Layers, rng: np.random.Generator) -> None:
    """Neighbouring ribs that step out of line at the side, with a dark gap between the ends."""
    side = _side(rng)
    x, y = side * rng.uniform(0.46, 0.56), rng.uniform(-0.30, 0.10)
    spacing = chest.anatomy.rib_spacing
    near = soft_ellipse(chest.x, chest.y, center=(x, y), radii=(0.34, 1.3 * spacing), softness=0.08)
    outside = smooth_step((chest.x * side - abs(x)) * chest.sharpness + 0.5)
    layers.rib_shift += 0.42 * near * outside
    slant = chest.x - x - 0.15 * (chest.y - y)
    gap = np.exp(-np.square(slant / 0.014)) * smooth_step(
        (1.2 * spacing - np.abs(chest.y - y)) * 20.0
    )
    layers.opacity -= 0.12 * gap
    callus = np.exp(-np.square((slant - 0.035 * side) / 0.02)) + np.exp(
        -np.square((slant + 0.035 * side) / 0.02)
    )
    layers.opacity += 0.07 * callus * smooth_step((1.1 * spacing - np.abs(chest.y - y)) * 20.0)


def _lung_lesion(chest: Chest, layers: Layers, rng: np.random.Generator) -> None:
    """One round, sharply bounded mass."""
    radius = rng.uniform(0.085, 0.135)
    mass = _blob(
        chest,
        rng,
        x=(0.30, 0.48),
        y=(-0.48, 0.12),
        radii=((radius, radius), (0.85 * radius, 1.1 * radius)),
        softness=0.14,
    )
    layers.opacity += rng.uniform(0.23, 0.29) * mass * chest.lung


def _lung_opacity(chest: Chest, layers: Layers, rng: np.random.Generator) -> None:
    """A faint veil with blurred borders over parts of both lungs."""
    for _ in range(int(rng.integers(3, 5))):
        veil = _blob(
            chest,
            rng,
            x=(0.26, 0.50),
            y=(-0.42, 0.30),
            radii=((0.15, 0.25), (0.13, 0.22)),
            softness=0.8,
        )
        layers.opacity += (
            rng.uniform(0.09, 0.13) * veil * chest.free_lung * (1.0 + 0.5 * layers.haze)
        )


def _pleural_effusion(chest: Chest, layers: Layers, rng: np.random.Generator) -> None:
    """Fluid that fills the angle between ribs and diaphragm and climbs the wall."""
    sides = (_side(rng),) if rng.random() < 0.65 else (-1, 1)
    climb = 1.1 * np.square(np.clip(chest.across - 0.52, 0.0, 1.0))
    for side in sides:
        level = chest.diaphragm_line - 0.55 * chest.anatomy.dome - rng.uniform(0.02, 0.26) - climb
        fluid = smooth_step((chest.y - level) * 9.0 + 0.5) * _half(chest, side)
        layers.air *= 1.0 - 0.97 * fluid
        layers.vessels *= 1.0 - fluid


def _pleural_other(chest: Chest, layers: Layers, rng: np.random.Generator) -> None:
    """A thickened pleura along the side wall, with calcified plaques."""
    side = _side(rng)
    thickness = rng.uniform(0.06, 0.09)
    rind = smooth_step((thickness - chest.wall) * 0.5 * chest.sharpness + 0.5) * _half(chest, side)
    rind *= smooth_step((chest.y - chest.anatomy.apex - 0.10) * 8.0) * chest.lung
    layers.opacity += rind * (0.19 + 0.03 * layers.haze)
    for _ in range(3):
        center = (side * rng.uniform(0.40, 0.58), rng.uniform(-0.30, 0.30))
        plaque = soft_ellipse(
            chest.x, chest.y, center=center, radii=(0.016, rng.uniform(0.04, 0.07)), softness=0.4
        )
        layers.opacity += 0.13 * plaque * chest.lung


def _pneumonia(chest: Chest, layers: Layers, rng: np.random.Generator) -> None:
    """One patchy infiltrate in a lower or middle zone."""
    size = layers.grid.size
    patches = smooth_step(0.75 + 0.5 * blotches(rng, size=size, cells=max(8, size // 9)))
    infiltrate = _blob(
        chest, rng, x=(0.28, 0.46), y=(0.0, 0.30), radii=((0.20, 0.28), (0.17, 0.24)), softness=0.5
    )
    layers.opacity += rng.uniform(0.32, 0.38) * infiltrate * patches * chest.free_lung


def _pneumothorax(chest: Chest, layers: Layers, rng: np.random.Generator) -> None:
    """Air without vessels around a collapsed lung with a fine white edge."""
    side = _side(rng)
    gap = rng.uniform(0.18, 0.30)
    inwards = np.minimum(chest.wall - 0.65 * gap, chest.y - (chest.top + gap))
    space = _half(chest, side) * smooth_step((chest.diaphragm_line - 0.2 - chest.y) * 4.0 + 0.5)
    collapsed = smooth_step(inwards * chest.sharpness + 0.5)
    outside = (1.0 - collapsed) * space
    layers.air *= 1.0 + 0.26 * outside
    layers.vessels *= 1.0 - outside
    edge = np.exp(-np.square(inwards * 0.5 * chest.sharpness))
    layers.opacity += (0.07 * collapsed + 0.15 * edge) * space * chest.lung


def _support_devices(chest: Chest, layers: Layers, rng: np.random.Generator) -> None:
    """A central line, a tracheal tube, electrodes with their wires, and at times a pacemaker."""
    grid, (dx, dy) = layers.grid, chest.pose.shift
    canvas = Image.new("L", (2 * grid.size, 2 * grid.size), 0)
    draw = ImageDraw.Draw(canvas)
    fine, thick = max(1, grid.size // 80), max(2, grid.size // 50)

    def pixels(*points: tuple[float, float]) -> list[tuple[float, float]]:
        moved = [(x + dx, y + dy) for x, y in points]
        return [(2 * column, 2 * row) for column, row in grid.to_pixels(*moved)]

    line = [(-0.62, -0.70), (-0.34, -0.60), (-0.14, -0.47), (-0.11, -0.15), (-0.10, 0.02)]
    draw.line(pixels(*line), fill=210, width=thick, joint="curve")
    draw.line(pixels((0.0, -1.0), (0.01, -0.45)), fill=170, width=thick)
    for _ in range(3):
        x, y = rng.uniform(-0.65, 0.65), rng.uniform(-0.55, 0.30)
        (column, row), radius = pixels((x, y))[0], grid.size / 24
        box = (column - radius, row - radius, column + radius, row + radius)
        draw.ellipse(box, outline=230, width=fine)
        draw.line(pixels((x, y), (x * 1.2, y + 0.4), (0.9 * x, 1.0)), fill=150, width=fine)
    if rng.random() < 0.4:
        draw.rounded_rectangle([*pixels((0.36, -0.62))[0], *pixels((0.58, -0.46))[0]], 6, fill=255)
        draw.line(
            pixels((0.38, -0.50), (0.16, -0.40), (0.10, 0.10), (0.20, 0.30)), fill=200, width=thick
        )
    drawn = canvas.resize((grid.size, grid.size), Image.Resampling.BOX)
    layers.opacity += 0.34 / 255.0 * np.asarray(drawn, np.float32)


_SIGNS: dict[str, Sign] = {
    "atelectasis": _atelectasis,
    "consolidation": _consolidation,
    "edema": _edema,
    "fracture": _fracture,
    "lung_lesion": _lung_lesion,
    "lung_opacity": _lung_opacity,
    "pleural_effusion": _pleural_effusion,
    "pleural_other": _pleural_other,
    "pneumonia": _pneumonia,
    "pneumothorax": _pneumothorax,
    "support_devices": _support_devices,
}
