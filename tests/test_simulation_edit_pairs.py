"""Pairs that differ in one attribute, and how good an edit of them is."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from model.arrays import Arrays
from model.checkpoint import load_arrays_into
from model.codec.pixel import PixelCodec
from model.conditioning import FINDINGS, Schema
from model.config import model_config
from model.editing.settings import FlowEdit
from model.generate import Generator
from model.manifest import Manifest
from model.transformer import RectifiedFlowTransformer
from simulation.edit_measures import (
    by_edit,
    edit_qualities,
    mean_quality,
    quality_of,
    table,
    untouched_qualities,
)
from simulation.edit_pairs import EditPair, draw_pairs

SCHEMA, SIDE = Schema(), 32
MANIFEST = Manifest(
    model=model_config("tiny", SIDE),
    findings=FINDINGS,
    kind="full",
    adapter=None,
    study_name="toy",
    study_digest="0" * 64,
    rounds=1,
    sites=("a",),
    parent_digest=None,
    weights_digest="0" * 64,
)


@pytest.fixture(scope="module")
def pairs() -> list[EditPair]:
    """All edits of one patient of each kind of hospital."""
    return list(draw_pairs(SCHEMA, SIDE, num_patients=3, seed=5))


def test_the_conditions_of_a_pair_differ_in_the_attribute_of_its_name(
    pairs: list[EditPair],
) -> None:
    for pair in pairs:
        differs = ~((pair.source == pair.target) | np.isnan(pair.source))
        (place,) = np.flatnonzero(differs)
        assert pair.edit.startswith(SCHEMA.names[place])


def test_every_edit_shows_in_the_picture_and_leaves_the_patient_alone(
    pairs: list[EditPair],
) -> None:
    for pair in pairs:
        change = np.abs(pair.after - pair.before)
        assert change.max() > 0.1
        assert np.corrcoef(pair.before.ravel(), pair.after.ravel())[0, 1] > 0.6
    small = [pair for pair in pairs if pair.edit.split()[0] in {"lung_lesion", "age"}]
    assert all((np.abs(p.after - p.before) > 0.1).mean() < 0.1 for p in small)


def test_what_disappears_is_what_appeared(pairs: list[EditPair]) -> None:
    named = {pair.edit: pair for pair in pairs[: len(pairs) // 3]}
    there, back = named["edema appears"], named["edema disappears"]
    assert np.array_equal(there.before, back.after)
    assert np.array_equal(there.after, back.before)


def test_the_three_kinds_of_hospital_take_turns(pairs: list[EditPair]) -> None:
    makers = SCHEMA.names.index("manufacturer")
    third = len(pairs) // 3
    assert len({float(pair.source[makers]) for pair in pairs[::third]}) == 3


def test_the_same_seed_draws_the_same_patients_and_another_does_not(
    pairs: list[EditPair],
) -> None:
    again = next(draw_pairs(SCHEMA, SIDE, num_patients=1, seed=5))
    other = next(draw_pairs(SCHEMA, SIDE, num_patients=1, seed=6))
    assert np.array_equal(again.before, pairs[0].before)
    assert not np.array_equal(other.before, pairs[0].before)


def square(value: float, rows: slice) -> NDArray[np.float32]:
    """A change of an eighth of the picture's height by as much of its width."""
    change = np.zeros((SIDE, SIDE), dtype=np.float32)
    change[rows, 8:12] = value
    return change


TRUE, ELSEWHERE = square(0.5, slice(8, 12)), square(0.5, slice(16, 20))
NOTHING = np.zeros_like(TRUE)


def test_the_true_change_is_perfect_and_half_of_it_is_half_as_good() -> None:
    perfect = quality_of(TRUE, TRUE, NOTHING)
    assert (perfect.gain, perfect.cosine) == pytest.approx((1.0, 1.0))
    assert (perfect.inside, perfect.outside, perfect.to_truth) == (0.0, 0.0, 0.0)
    half = quality_of(square(0.25, slice(8, 12)), TRUE, NOTHING)
    assert (half.gain, half.cosine) == pytest.approx((0.5, 1.0))
    assert (half.inside, half.outside, half.to_truth) == pytest.approx((0.25, 0.0, 0.25 / 8))


def test_what_changes_beside_the_truth_shows_outside_and_in_the_cosine() -> None:
    quality = quality_of(TRUE + ELSEWHERE, TRUE, NOTHING)
    assert quality.gain == pytest.approx(1.0)
    assert quality.cosine == pytest.approx(math.sqrt(0.5))
    assert quality.inside == 0.0
    assert quality.outside == pytest.approx(math.sqrt(0.25 * 16 / (SIDE**2 - 16)))


def test_a_change_the_wrong_way_is_a_loss_and_what_stays_after_editing_back_is_told() -> None:
    quality = quality_of(-TRUE, TRUE, ELSEWHERE)
    assert (quality.gain, quality.cosine) == pytest.approx((-1.0, -1.0))
    assert quality.edit_back == pytest.approx(0.5 / 8)


def test_a_picture_left_alone_has_no_gain_and_means_are_told_by_edit(
    pairs: list[EditPair],
) -> None:
    qualities = untouched_qualities(pairs)
    mean = mean_quality(qualities)
    assert (mean.gain, mean.cosine, mean.outside, mean.edit_back) == (0.0, 0.0, 0.0, 0.0)
    rows = by_edit(pairs, qualities)
    assert len(rows) == len(pairs) // 3
    assert len(table(rows).splitlines()) == len(rows) + 1


def test_a_model_is_measured_there_and_back(pairs: list[EditPair], random_weights: Arrays) -> None:
    network = RectifiedFlowTransformer(model_config("tiny", SIDE), SCHEMA).eval()
    load_arrays_into(network, random_weights)
    generator = Generator(
        network=network, codec=PixelCodec(), manifest=MANIFEST, adapter_digest=None
    )
    first = pairs[:2]
    settings = FlowEdit(num_steps=2, local_share=1.0)
    qualities = edit_qualities(generator, first, settings, seed=0)
    assert len(qualities) == len(first)
    assert all(each.outside > 0 and each.edit_back > 0 for each in qualities)
    assert qualities == edit_qualities(generator, first, settings, seed=0)
