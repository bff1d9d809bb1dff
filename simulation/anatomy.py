"""A patient's chest: the same in every study, drawn anew only in how the patient stands and breathes.

A picture is a slab of soft tissue from which air is removed. This file says where the air is: body
outline, lungs, heart and diaphragm as smooth boundaries. Not physics, but every boundary a reader of
chest radiographs looks for is there, and each moves with age, sex, view and disease.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

import numpy as np

from simulation.texture import Field, Grid, smooth_curve, smooth_step

_PATIENT, _POSE, _FINDINGS, _MACHINE = range(4)


@dataclass(frozen=True, kw_only=True, slots=True)
class Chance:
    """Independent randomness for each cause, so that changing one leaves the others as they were.

    The same patient and study with and without a finding then differ by that finding alone.
    """

    patient: np.random.Generator
    """The same in every study of a patient."""
    pose: np.random.Generator
    findings: np.random.Generator
    machine: np.random.Generator

    @classmethod
    def of_study(cls, patient_seed: int, study_seed: int) -> "Chance":
        """Start all streams of one study."""
        return cls(
            patient=np.random.default_rng([patient_seed, _PATIENT]),
            pose=np.random.default_rng([patient_seed, study_seed, _POSE]),
            findings=np.random.default_rng([patient_seed, study_seed, _FINDINGS]),
            machine=np.random.default_rng([patient_seed, study_seed, _MACHINE]),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Anatomy:
    """What does not change between studies; lengths in half picture widths."""

    half_width: float
    apex: float
    """y of the lung tips."""
    diaphragm: float
    """y of the diaphragm's edge in deep inspiration."""
    dome: float
    """Height of the diaphragm's dome."""
    right_lift: float
    """How much higher the right half of the diaphragm stands."""
    rib_spacing: float
    rib_slope: float
    heart: float
    mediastinum: float
    """Width of the upper mediastinum, as a share of the usual."""
    aortic_knob: float
    fat: float
    """0 lean to 1 obese."""
    shoulder: float
    spine_bend: float
    vessels: int
    """Which of the prepared vessel trees."""
    has_breasts: bool


def draw_anatomy(rng: np.random.Generator, *, sex: str, age: float, num_trees: int) -> Anatomy:
    """Draw one patient; the aorta unfolds with age."""
    return Anatomy(
        half_width=rng.uniform(0.68, 0.77),
        apex=rng.uniform(-0.84, -0.74),
        diaphragm=rng.uniform(0.46, 0.60),
        dome=rng.uniform(0.15, 0.21),
        right_lift=rng.uniform(0.035, 0.07),
        rib_spacing=rng.uniform(0.135, 0.155),
        rib_slope=rng.uniform(0.28, 0.40),
        heart=rng.uniform(0.30, 0.345),
        mediastinum=rng.uniform(0.92, 1.08),
        aortic_knob=rng.uniform(0.0, 0.03) + max(0.0, age - 45.0) * 0.0012,
        fat=rng.uniform(0.0, 1.0),
        shoulder=rng.uniform(-0.04, 0.04),
        spine_bend=rng.uniform(-0.035, 0.035),
        vessels=int(rng.integers(num_trees)),
        has_breasts=sex == "F",
    )


def diseased(anatomy: Anatomy, findings: AbstractSet[str], rng: np.random.Generator) -> Anatomy:
    """Anatomy with the findings that change a boundary; the others are drawn over it."""
    heart, mediastinum = anatomy.heart, anatomy.mediastinum
    if "cardiomegaly" in findings:
        heart *= rng.uniform(1.40, 1.60)
    if "enlarged_cardiomediastinum" in findings:
        mediastinum *= rng.uniform(1.50, 1.80)
    return replace(anatomy, heart=heart, mediastinum=mediastinum)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pose:
    """How a patient stands, turns and breathes in one study."""

    shift: tuple[float, float]
    """Right and down."""
    zoom: float
    turn: float
    breath: float
    """How much lower the diaphragm stands."""
    heart_zoom: float


def draw_pose(rng: np.random.Generator, *, view: str, zoom: float) -> Pose:
    """Draw one study's pose; portable AP pictures are closer, shallower and enlarge the heart."""
    portable = view == "AP"
    return Pose(
        shift=(rng.uniform(-0.05, 0.05), rng.uniform(-0.05, 0.04)),
        zoom=rng.uniform(0.95, 1.05) * zoom * (1.05 if portable else 1.0),
        turn=rng.uniform(-0.05, 0.05),
        breath=rng.uniform(-0.05, 0.05) - (0.08 if portable else 0.0),
        heart_zoom=1.14 if portable else 1.0,
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Chest:
    """The patient's boundaries in one study, over the picture."""

    anatomy: Anatomy
    pose: Pose
    x: Field
    """Signed distance from the midline; positive is the patient's left, on the picture's right."""
    y: Field
    across: Field
    """Distance from the midline as a share of the chest's half width."""
    diaphragm_line: float
    """y of the diaphragm's edge."""
    diaphragm: Field
    """y of the diaphragm over x."""
    wall: Field
    """Distance to the chest wall, positive inside."""
    top: Field
    """y of the lung's upper border over x."""
    sharpness: float
    """Slope that makes a boundary about two pixels wide."""
    body: Field
    """0 outside the patient, thicker tissue towards 1."""
    lung: Field
    heart: Field
    depth: Field
    """Air on the way through the lung, as a share of the deepest."""
    free_lung: Field
    """Lung that the heart does not cover."""


def build_chest(grid: Grid, anatomy: Anatomy, pose: Pose) -> Chest:
    """Evaluate all boundaries on the grid."""
    y = (grid.y - pose.shift[1]) / pose.zoom
    x = (grid.x - pose.shift[0]) / pose.zoom + pose.turn * y
    from_midline = np.abs(x)
    across = from_midline / anatomy.half_width
    line = anatomy.diaphragm + pose.breath
    sharpness = 0.8 * grid.size / 4.8
    diaphragm = _diaphragm(x, across, anatomy, line)
    wall = _chest_wall(y, anatomy) - from_midline
    top = anatomy.apex + 0.50 * np.square(across - 0.36)
    lung = smooth_step((y - top) * sharpness + 0.5)
    lung = lung * smooth_step((diaphragm - y) * sharpness + 0.5)
    lung *= smooth_step(wall * sharpness + 0.5)
    lung *= smooth_step((from_midline - _lung_inner_edge(y, anatomy)) * 0.7 * sharpness + 0.5)
    heart = _heart_and_vessels(x, y, anatomy, pose, line)
    depth = np.sqrt(np.clip(1.04 - 0.80 * across * across, 0.05, 1.0))
    depth = depth * (0.86 + 0.14 * np.clip((y - anatomy.apex) * 2.0, 0.0, 1.0))
    return Chest(
        anatomy=anatomy,
        pose=pose,
        x=x,
        y=y,
        across=across,
        diaphragm_line=line,
        diaphragm=diaphragm,
        wall=wall,
        top=top,
        sharpness=sharpness,
        body=_body(y, from_midline, anatomy),
        lung=lung,
        heart=heart,
        depth=depth,
        free_lung=lung * (1.0 - 0.75 * heart),
    )


def _diaphragm(x: Field, across: Field, anatomy: Anatomy, line: float) -> Field:
    side = np.where(x > 0, 0.5, -0.5).astype(np.float32)
    dome = anatomy.dome * (1.0 - np.square((across - 0.50) / 0.50))
    costal_angle = 2.2 * np.square(np.clip(across - 0.80, 0.0, 1.0))
    return np.asarray(line + anatomy.right_lift * side - dome + costal_angle)


def _chest_wall(y: Field, anatomy: Anatomy) -> Field:
    apex = anatomy.apex
    shares = {-1.0: 0.18, apex - 0.02: 0.30, apex + 0.10: 0.50, apex + 0.24: 0.66}
    shares |= {apex + 0.44: 0.82, -0.05: 0.97, 0.35: 1.03, 0.9: 1.03}
    return smooth_curve(y, shares) * anatomy.half_width


def _lung_inner_edge(y: Field, anatomy: Anatomy) -> Field:
    apex = anatomy.apex
    knots = {-1.0: 0.16, apex: 0.13, apex + 0.2: 0.115, -0.25: 0.125, -0.05: 0.14}
    return smooth_curve(y, knots | {0.2: 0.13, 0.6: 0.12})


def _body(y: Field, from_midline: Field, anatomy: Anatomy) -> Field:
    shoulder, fat = anatomy.shoulder, anatomy.fat
    knots = {-1.4: 0.22, -1.08: 0.24, -0.98: 0.34, -0.90: 0.66, -0.80: 1.00 + shoulder}
    knots |= {-0.66: 1.14 + shoulder, -0.40: 1.08, 0.0: 0.98 + 0.06 * fat}
    inside = (
        smooth_curve(y, knots | {0.6: 0.95 + 0.10 * fat, 1.4: 0.97 + 0.12 * fat}) - from_midline
    )
    return smooth_step(inside * 8.0) * (0.72 + 0.28 * smooth_step(inside * 1.6 + 0.1))


def _heart_and_vessels(x: Field, y: Field, anatomy: Anatomy, pose: Pose, line: float) -> Field:
    """Left heart, right atrium, mediastinum and aortic knob, joined; 1 where nothing shines through."""
    size = anatomy.heart * pose.heart_zoom
    excess = size - 0.32
    across, down = x - (0.13 + 0.30 * excess), y - (line - 0.17 - 0.25 * excess)
    cosine, sine = float(np.cos(0.58)), float(np.sin(0.58))
    u = (cosine * across + sine * down) / (1.12 * size)
    v = (cosine * down - sine * across) / (0.84 * size)
    left = smooth_step((1.10 - u * u - v * v) * 3.2)
    right_radius = np.square((x + 0.02) / (0.68 * size)) + np.square((down + 0.02) / (0.72 * size))
    right = smooth_step((1.08 - right_radius) * 3.4)
    return np.maximum(np.maximum(left, right), _great_vessels(x, y, anatomy))


def _great_vessels(x: Field, y: Field, anatomy: Anatomy) -> Field:
    knots = {-1.0: 0.085, -0.75: 0.10, -0.55: 0.135, -0.36: 0.150, -0.28: 0.150}
    width = smooth_curve(y, knots | {-0.14: 0.165, 0.1: 0.15, 0.6: 0.12})
    width = 1.0 * width * (1.0 + (anatomy.mediastinum - 1.0) * smooth_step((0.35 - y) * 3.0))
    mediastinum = smooth_step((width - np.abs(x)) * 15.0 + 0.35)
    knob_x = 0.10 * anatomy.mediastinum + anatomy.aortic_knob
    radius = np.square((x - knob_x) / 0.085) + np.square((y + 0.37) / 0.12)
    return np.asarray(np.maximum(mediastinum, 0.8 * smooth_step((1.15 - radius) * 1.6)))
