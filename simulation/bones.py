"""Bones, windpipe and soft tissue in front of and behind the lungs."""

import numpy as np

from simulation.anatomy import Chest
from simulation.texture import Field, smooth_step, soft_ellipse


def bone_density(chest: Chest, rib_shift: Field) -> Field:
    """Density that ribs, clavicles, scapulae, spine and humeral heads add."""
    density = _posterior_ribs(chest, rib_shift) + _anterior_ribs(chest, rib_shift)
    density += _clavicles(chest) + _scapulae(chest) + _spine(chest)
    for side in (-1, 1):
        head = soft_ellipse(
            chest.x, chest.y, center=(side * 0.98, -0.62), radii=(0.17, 0.13), softness=0.35
        )
        density += 0.09 * head * chest.body
    return density


def _thorax(chest: Chest) -> Field:
    inside = smooth_step((chest.wall + 0.05) * 12.0)
    return inside * smooth_step((chest.y - chest.anatomy.apex + 0.02) * 8.0)


def _posterior_ribs(chest: Chest, rib_shift: Field) -> Field:
    """Arches from the spine that sweep down towards the side; denser at their edges."""
    anatomy, across = chest.anatomy, chest.across
    sweep = 0.42 * np.square(np.clip(across - 0.30, 0.0, 1.0)) - 0.10 * anatomy.rib_slope * across
    rise = 0.13 * np.square(np.clip(0.30 - across, 0.0, 1.0))
    phase = (chest.y - anatomy.apex - 0.03 - sweep + rise) / anatomy.rib_spacing + rib_shift
    bone = smooth_step(1.75 - np.abs(phase - np.floor(phase) - 0.5) * 5.0)
    bone *= 1.75 - 0.95 * bone
    bone *= _thorax(chest) * smooth_step((np.abs(chest.x) - 0.08) * 12.0)
    bone *= smooth_step((chest.diaphragm_line + 0.10 - chest.y) * 4.0)
    return bone * (0.050 + 0.060 * across * across)


def _anterior_ribs(chest: Chest, rib_shift: Field) -> Field:
    """The fainter front ends, which rise towards the side."""
    anatomy, across = chest.anatomy, chest.across
    height = chest.y - anatomy.apex - 0.42 + 0.75 * across - 0.42 * across * across
    phase = height / (1.25 * anatomy.rib_spacing) + rib_shift
    bone = smooth_step(1.5 - np.abs(phase - np.floor(phase) - 0.5) * 4.6) * _thorax(chest)
    bone *= smooth_step((across - 0.42) * 4.0) * smooth_step((chest.diaphragm_line - chest.y) * 4.0)
    return 0.034 * bone


def _clavicles(chest: Chest) -> Field:
    from_midline = np.abs(chest.x)
    middle = chest.anatomy.apex + 0.19 - 0.27 * from_midline + 0.05 * np.sin(6.0 * from_midline)
    bone = smooth_step(1.6 - np.abs(chest.y - middle) / 0.024)
    bone *= smooth_step((from_midline - 0.07) * 12.0) * smooth_step((0.92 - from_midline) * 7.0)
    return 0.080 * bone * chest.body


def _scapulae(chest: Chest) -> Field:
    blade = smooth_step((np.abs(chest.x) - (0.66 + 0.10 * (chest.y + 0.55))) * 9.0)
    blade *= smooth_step((chest.y + 0.66) * 5.0) * smooth_step((0.02 - chest.y) * 4.0)
    return 0.045 * blade * chest.body


def _spine(chest: Chest) -> Field:
    middle = chest.anatomy.spine_bend * np.sin(2.4 * chest.y)
    vertebrae = 0.75 + 0.25 * np.cos(chest.y * float(2.0 * np.pi / 0.13))
    return np.asarray(
        0.055 * smooth_step((0.085 - np.abs(chest.x - middle)) * 22.0) * vertebrae * chest.body
    )


def soft_tissue_density(chest: Chest, haze: Field) -> Field:
    """Density that hila, heart, abdomen, breasts and uneven fat add, less the windpipe's air."""
    anatomy = chest.anatomy
    density = 0.09 * smooth_step((chest.y - chest.diaphragm) * 5.0 + 0.3) * chest.body
    density += 0.03 * chest.heart * chest.lung
    hila = np.square((np.abs(chest.x) - 0.21) / 0.07) + np.square((chest.y + 0.02) / 0.13)
    density += 0.07 * chest.lung * np.exp(-hila)
    windpipe = smooth_step((0.046 - np.abs(chest.x + 0.008)) * 28.0)
    density -= 0.085 * windpipe * smooth_step((-0.26 - chest.y) * 7.0)
    if anatomy.has_breasts:
        density += (0.06 + 0.04 * anatomy.fat) * _breasts(chest)
    return density + (0.012 + 0.014 * anatomy.fat) * haze * chest.body


def _breasts(chest: Chest) -> Field:
    y = chest.diaphragm_line - 0.16
    left, right = (
        soft_ellipse(chest.x, chest.y, center=(side * 0.42, y), radii=(0.31, 0.27), softness=0.20)
        for side in (-1, 1)
    )
    return left + right


def stomach_bubble(chest: Chest, rng: np.random.Generator) -> Field:
    """Swallowed air under the left diaphragm, in three of four studies; negative density."""
    if rng.random() > 0.75:
        return np.zeros((1, 1), np.float32)
    center = (0.36, chest.diaphragm_line + 0.10)
    radii = (rng.uniform(0.07, 0.14), rng.uniform(0.035, 0.07))
    depth = rng.uniform(0.06, 0.13)
    return -depth * soft_ellipse(chest.x, chest.y, center=center, radii=radii, softness=0.3)
