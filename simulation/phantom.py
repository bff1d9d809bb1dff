"""Chest radiographs of patients who do not exist, with known findings, in milliseconds.

The same patient seed gives the same anatomy in every study, so that whatever counts by patient (splits,
privacy, memorisation) can be tested. The style is the hospital's.
"""

from collections.abc import Set as AbstractSet

import numpy as np

from model.conditioning import FINDINGS
from simulation.anatomy import (
    Chance,
    Chest,
    build_chest,
    diseased,
    draw_anatomy,
    draw_pose,
)
from simulation.bones import bone_density, soft_tissue_density, stomach_bubble
from simulation.findings import Layers, paint_findings
from simulation.style import Style, render_style
from simulation.texture import Field, Grid, blotches, vessel_tree

_NUM_TREES = 12
_TREE_SEED = 20
_MIN_SIZE = 32
FRONTAL_VIEWS = ("PA", "AP")


class Phantom:
    """Renders studies of one picture size; preparing the vessel trees takes a moment, once."""

    def __init__(self, image_size: int) -> None:
        if image_size < _MIN_SIZE:
            raise ValueError(
                f"image_size is {image_size}, a chest needs at least {_MIN_SIZE} pixels"
            )
        self._grid = Grid.of_size(image_size)
        rng = np.random.default_rng(_TREE_SEED)
        self._trees = [vessel_tree(rng, size=image_size) for _ in range(_NUM_TREES)]

    def render(
        self,
        *,
        findings: AbstractSet[str],
        patient_seed: int,
        study_seed: int,
        sex: str,
        age: float,
        view: str,
        style: Style,
    ) -> Field:
        """Render one study.

        Args:
            findings: the findings that are present.
            patient_seed: decides the anatomy.
            study_seed: decides pose, noise and how findings look, together with the patient.
            sex: "F" or "M".
            age: years.
            view: "PA" or "AP".
            style: the hospital's look.

        Returns:
            Brightness (image_size, image_size) in [0, 1], white is dense.

        Raises:
            ValueError: a finding or view that has no picture.
        """
        if view not in FRONTAL_VIEWS or not findings <= set(FINDINGS):
            raise ValueError(f"there is no phantom of view {view} with {sorted(findings)}")
        chance = Chance.of_study(patient_seed, study_seed)
        anatomy = draw_anatomy(chance.patient, sex=sex, age=age, num_trees=len(self._trees))
        anatomy = diseased(anatomy, findings, chance.findings)
        chest = build_chest(self._grid, anatomy, draw_pose(chance.pose, view=view, zoom=style.zoom))
        layers = self._healthy_layers(chest, chance.pose)
        paint_findings(findings, chest, layers, chance.findings)
        density = self._density(chest, layers) + stomach_bubble(chest, chance.pose)
        return render_style(density, style, chance.machine, portable=view == "AP")

    def _healthy_layers(self, chest: Chest, rng: np.random.Generator) -> Layers:
        size = self._grid.size
        return Layers(
            grid=self._grid,
            air=chest.lung * (1.0 - 0.90 * chest.heart) * chest.depth,
            opacity=np.zeros((size, size), np.float32),
            vessels=chest.lung * chest.depth * (1.0 - 0.55 * chest.heart),
            rib_shift=np.zeros((size, size), np.float32),
            haze=blotches(rng, size=size, cells=12),
        )

    def _density(self, chest: Chest, layers: Layers) -> Field:
        """A slab of soft tissue minus its air, plus everything that lies in it."""
        fat = chest.anatomy.fat
        slab = chest.body * (0.60 + 0.04 * fat + 0.05 * np.clip(chest.y, -1.0, 1.0))
        density = slab - 0.43 * layers.air + 0.92 * layers.opacity
        density += bone_density(chest, layers.rib_shift)
        density += soft_tissue_density(chest, layers.haze)
        return np.asarray(density + 0.078 * layers.vessels * self._shifted_tree(chest))

    def _shifted_tree(self, chest: Chest) -> Field:
        right, down = (round(offset * self._grid.size / 2) for offset in chest.pose.shift)
        return np.roll(self._trees[chest.anatomy.vessels], (down, right), axis=(0, 1))
