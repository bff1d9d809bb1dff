"""Distances and variety, on features and pictures whose likeness is known; and the steps of a published protocol."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.conditioning import Metadata, Schema
from model.evaluation.frechet import frechet
from model.evaluation.kernel_distance import kernel_distance_of_all
from synthesis.evaluation.chexgenbench import PUBLISHED, Through299, first_of_each
from synthesis.evaluation.diversity import NUM_EACH, diversity
from synthesis.evaluation.drawn import Drawn
from synthesis.evaluation.fidelity import closeness, fidelity
from synthesis.evaluation.plan import Plan
from synthesis.evaluation.radiographs import Radiographs

SCHEMA = Schema()
NUM = 240
PLAN = Plan(num_resamples=50)
PATIENTS = np.arange(NUM) // 2


def features(seed: int, *, shift: float = 0.0) -> NDArray[np.float32]:
    """Draws of one distribution of eight features, of which conditions explain nothing."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(NUM, 8)) + shift).astype(np.float32)


def test_samples_of_the_real_distribution_score_what_real_radiographs_score() -> None:
    found = closeness("all", features(1), features(2), PATIENTS, PLAN)
    assert found.num_each == NUM // 2
    assert found.drawn.frechet == pytest.approx(found.real.frechet, rel=0.5)
    assert found.excess.interval.low < 0 < found.excess.interval.high
    assert found.frechet_interval.low < found.drawn.frechet < found.frechet_interval.high
    assert abs(found.frechet_infinite) < 0.6 * found.real.frechet
    assert found.drawn.prdc.recall == pytest.approx(found.real.prdc.recall, abs=0.05)


def test_samples_that_lie_elsewhere_are_told_apart() -> None:
    found = closeness("all", features(1), features(2, shift=0.5), PATIENTS, PLAN)
    assert found.excess.interval.low > 0
    assert found.drawn.frechet - found.real.frechet == pytest.approx(8 * 0.5**2, abs=0.6)
    assert found.drawn.kernel > 10 * abs(found.real.kernel)


def test_samples_without_variety_are_precise_and_have_no_recall() -> None:
    collapsed = features(2)[np.arange(NUM) % 6]
    found = closeness("all", features(1), collapsed, PATIENTS, PLAN)
    assert found.drawn.prdc.recall < 0.2
    assert found.real.prdc.recall > 0.8
    assert found.drawn.prdc.precision > 0.8
    assert found.excess.interval.low > 0


def test_copies_of_the_real_radiographs_lie_at_no_distance_from_all_of_them() -> None:
    found = closeness("all", features(1), features(1), PATIENTS, PLAN)
    assert found.all_drawn.frechet == pytest.approx(0.0, abs=1e-6)
    assert found.drawn.frechet == pytest.approx(found.real.frechet)
    assert found.excess.value == pytest.approx(0.0)


class Corner:
    """An encoder that looks at the first eight pixels."""

    name, num_features = "corner", 8

    def features(self, images: Tensor) -> NDArray[np.float32]:
        """Those pixels."""
        return images.flatten(1)[:, :8].numpy()


def radiographs(images: Tensor, views: list[str], patients: NDArray[np.int64]) -> Radiographs:
    """Pictures in [-1, 1] of women with known views."""
    rows = np.stack(
        [
            SCHEMA.row(
                Metadata(
                    age=50.0,
                    sex="F",
                    view=view,
                    race=None,
                    site=None,
                    manufacturer=None,
                    findings={},
                )
            )
            for view in views
        ]
    )
    pixels = ((images[:, 0].numpy() + 1) * 32767.5).round().astype(np.uint16)
    return Radiographs(
        source=Drawn(pixels=pixels, rows=rows),
        places=np.arange(len(rows)),
        rows=rows,
        patients=patients,
        hospitals=np.zeros(len(rows), dtype=np.int64),
    )


def test_every_view_with_enough_radiographs_has_numbers_of_its_own() -> None:
    views = ["PA" if number % 3 else "AP" for number in range(NUM - 5)] + ["LATERAL"] * 5
    real = radiographs(torch.zeros(NUM, 1, 4, 4), views, PATIENTS)
    found = fidelity(Corner(), (real, features(1)), features(2), SCHEMA, PLAN)
    assert [group.group for group in found.groups] == ["all views", "PA", "AP"]
    assert found.left_out == ("LATERAL (5)",)
    assert found.groups[2].num_all == views.count("AP")


def test_samples_that_are_all_alike_are_less_varied_than_patients() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(60, 1, 16, 16, generator=generator).clamp(-1, 1)
    alike = (0.3 * noise + noise[:1]).clamp(-1, 1)
    views, patients = ["PA"] * 60, np.arange(60)
    real = radiographs(noise, views, patients)
    repeated = radiographs(alike[: 2 * NUM_EACH], views[: 2 * NUM_EACH], patients[: 2 * NUM_EACH])
    poor = diversity(
        repeated, radiographs(alike, views, patients), real, SCHEMA, np.random.default_rng(0)
    )
    assert poor.similar.interval.low > poor.real_similar.interval.high
    assert poor.same_condition.value > poor.real.interval.high + 0.3
    assert "more alike than" in poor.verdict
    good = diversity(repeated, real, real, SCHEMA, np.random.default_rng(0))
    assert "as varied as" in good.verdict
    assert good.num_conditions == 2


def test_patients_of_unknown_sex_or_view_have_no_similar_patients() -> None:
    pictures = torch.zeros(30, 1, 16, 16)
    real = radiographs(pictures, ["PA"] * 30, np.arange(30))
    real.rows[:, SCHEMA.names.index("sex")] = 0
    found = diversity(real, real, real, SCHEMA, np.random.default_rng(0))
    assert np.isnan(found.real_similar.value)
    assert "Too few" in found.verdict


def test_the_published_protocol_reduces_pictures_to_299_pixels_of_8_bits() -> None:
    seen: list[Tensor] = []

    class Watcher(Corner):
        def features(self, images: Tensor) -> NDArray[np.float32]:
            seen.append(images)
            return super().features(images)

    images = torch.rand(2, 1, 320, 320, generator=torch.Generator().manual_seed(1)) * 2 - 1
    encoder = Through299(Watcher())
    assert encoder.features(images).shape == (2, 8)
    grey = (seen[0] + 1) * 127.5
    assert seen[0].shape == (2, 1, 299, 299)
    torch.testing.assert_close(grey, grey.round(), atol=1e-3, rtol=0)
    assert (encoder.name, encoder.num_features) == ("corner, through 299 pixels", 8)


def test_the_published_protocol_takes_the_kernel_distance_of_the_whole_set() -> None:
    plan = Plan(num_resamples=2, protocol="chexgenbench")
    found = closeness("all", features(1), features(2), PATIENTS, plan)
    assert found.all_drawn.kernel == kernel_distance_of_all(features(1), features(2))
    assert found.all_drawn.frechet == frechet(features(1), features(2))


def test_the_published_protocol_asks_for_every_condition_once() -> None:
    rows = np.array([[1, np.nan, 2], [3, np.nan, 2], [1, np.nan, 2], [1, 0, 2]], dtype=np.float32)
    np.testing.assert_array_equal(first_of_each(rows), [0, 1, 3])


def test_the_published_table_is_that_of_the_paper() -> None:
    best = min(PUBLISHED, key=lambda line: line.frechet)
    assert (best.model, best.frechet, best.recall) == ("RadiT XL, 1.3B", 13.15, 0.86)
    assert len(PUBLISHED) == 10
