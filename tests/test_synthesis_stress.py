"""Stress tests: a planted fault shows, where it was planted, and a fair classifier raises no alarm."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from model.codec.pixel import PixelCodec
from model.conditioning import FINDINGS, Schema
from model.config import model_config
from model.editing.settings import FlowEdit
from model.generate import Generator
from model.guidance import NO_GUIDANCE
from model.manifest import Manifest
from model.sampler import Sampling
from model.transformer import RectifiedFlowTransformer
from synthesis.number_format import number
from synthesis.stress.axes import UnknownGrouping, ask, parse_axis
from synthesis.stress.changes import Change, changes
from synthesis.stress.classifier import Classifier, InputForm
from synthesis.stress.concerns import concerns
from synthesis.stress.figures import Scored, figures, gaps
from synthesis.stress.flips import Answers, count_flips
from synthesis.stress.report import write_report
from synthesis.stress.run import StressPlan, StressResult, StressTest
from synthesis.stress.tables import Measuring

SIDE = 16
FINDING = "cardiomegaly"
SCHEMA = Schema()
COLUMN = {name: number for number, name in enumerate(SCHEMA.names)}
HEART, SEX, HAZE = (
    (slice(0, 8), slice(0, 8)),
    (slice(0, 8), slice(8, 16)),
    (slice(8, 16), slice(0, 16)),
)
"""Where the painter shows the finding, the sex and the view."""

QUICK = Sampling(num_steps=1, guidance=NO_GUIDANCE, method="euler")
AXES = tuple(parse_axis(text, SCHEMA, {}) for text in ("sex", "view"))


class Painter(RectifiedFlowTransformer):
    """A network that paints exactly what it is asked for, each thing in its place, and hearts that differ."""

    def forward(
        self,
        noisy: Float[Tensor, "batch draw channel height width"],
        t: Float[Tensor, "batch draw"],  # noqa: ARG002  it paints the same at every level
        condition: Float[Tensor, "batch draw attribute"],
    ) -> Float[Tensor, "batch draw channel height width"]:
        """The painted picture, whatever the noise level."""
        painted = torch.zeros_like(noisy)
        heart = 0.3 * (condition[..., COLUMN[FINDING]] == 2) + 0.6 * noisy[..., *HEART].mean(
            (2, 3, 4)
        )
        for place, values in (
            (HEART, heart),
            (SEX, condition[..., COLUMN["sex"]] - 1.5),
            (HAZE, condition[..., COLUMN["view"]] - 1.5),
        ):
            painted[..., *place] = values[..., None, None, None]
        return painted


@pytest.fixture(scope="module")
def painter() -> Generator:
    config = model_config("tiny", SIDE)
    manifest = Manifest(
        model=config,
        findings=FINDINGS,
        kind="full",
        adapter=None,
        study_name="painter",
        study_digest="0" * 64,
        rounds=1,
        sites=("a",),
        parent_digest=None,
        weights_digest="0" * 64,
    )
    network = Painter(config, SCHEMA).eval()
    return Generator(network=network, codec=PixelCodec(), manifest=manifest, adapter_digest=None)


def looking_at(*, sex: float = 0.0, haze: float = 0.0) -> Classifier:
    """A classifier that sees large hearts, and cares as much as is said for what it should not see."""

    def scores(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        heart, female, view = (
            pictures[:, 0, *place].mean(axis=(1, 2)) for place in (HEART, SEX, HAZE)
        )
        logits = 20 * (heart - 0.15) + sex * (female + 0.5) + haze * (view + 0.5)
        return np.asarray(logits, dtype=np.float32)

    form = InputForm(image_size=SIDE, low=-1.0, high=1.0)
    return Classifier(
        scores=scores, form=form, outputs=(FINDING,), finding=FINDING, is_logit=True, threshold=0.5
    )


def outcome(painter: Generator, classifier: Classifier, *, min_cell: int = 20) -> StressResult:
    plan = StressPlan(
        axes=AXES,
        others=("support_devices",),
        per_cell=30,
        num_edited=60,
        sampling=QUICK,
        edits=FlowEdit(num_steps=2, guidance=NO_GUIDANCE),
        measuring=Measuring(min_cell=min_cell, num_resamples=200, seed=0),
        num_probe_steps=1,
    )
    test = StressTest(
        generator=painter, classifier=classifier, plan=plan, on_progress=lambda *_: None
    )
    return test.run(None)


def sentences(result: StressResult) -> str:
    return "\n".join(concern.sentence for concern in concerns(result))


@pytest.fixture(scope="module")
def fair(painter: Generator) -> StressResult:
    return outcome(painter, looking_at())


@pytest.fixture(scope="module")
def hard_on_men(painter: Generator) -> StressResult:
    """Of a classifier that wants more of a heart the more the picture looks like a man's."""
    return outcome(painter, looking_at(sex=-6.0))


@pytest.mark.slow
def test_a_fair_classifier_raises_no_alarm(fair: StressResult) -> None:
    assert sentences(fair) == ""
    (table,) = fair.tables
    assert table.everything.figures is not None
    assert 0.9 < table.everything.figures.auroc < 1
    moved = [flips.what for flips in fair.edits[0].flips if abs(flips.shift) > 0.01]
    assert moved == ["cardiomegaly added", "cardiomegaly removed"]


@pytest.mark.slow
def test_a_threshold_that_moves_with_sex_shows_in_that_group_and_in_those_edits(
    hard_on_men: StressResult,
) -> None:
    found = sentences(hard_on_men)
    assert "sex M: sensitivity is" in found
    assert "sex from F to M: answers flip" in found
    assert "sex from M to F: answers flip" in found
    assert "view" not in found
    shifts = {flips.what: flips.shift for flips in hard_on_men.edits[0].flips}
    assert shifts["sex from F to M"] < -0.1 < 0.1 < shifts["sex from M to F"]


@pytest.mark.slow
def test_a_classifier_that_looks_at_the_haze_of_bedside_pictures_is_found_out(
    painter: Generator,
) -> None:
    found = sentences(outcome(painter, looking_at(haze=6.0)))
    assert "view AP: specificity is" in found
    assert "view from PA to AP: answers flip" in found
    assert "sex" not in found


@pytest.mark.slow
def test_a_classifier_that_does_not_look_at_the_heart_is_called_deaf(painter: Generator) -> None:
    sees_all = replace(looking_at(), scores=lambda pictures: np.ones(len(pictures), np.float32))
    assert "cardiomegaly removed: the answer does not follow" in sentences(
        outcome(painter, sees_all)
    )


def test_the_page_shows_pictures_and_the_same_numbers_as_the_json(
    hard_on_men: StressResult, tmp_path: Path
) -> None:
    page = write_report(hard_on_men, {"finding": FINDING}, tmp_path / "out").read_text()
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    groups = {row["label"]: row["figures"] for row in content["tables"][0]["groups"]}
    men = groups["sex M"]["sensitivity"]["value"]
    assert number(men) in page
    assert men < groups["sex F"]["sensitivity"]["value"]
    assert content["concerns"][0]["sentence"] in page
    assert page.count("data:image/png;base64,") > 50
    assert "https:" not in page
    assert "must stay in the hospital" not in page  # nothing real is in it


def test_a_group_that_is_too_small_is_not_reported(painter: Generator) -> None:
    (table,) = outcome(painter, looking_at(), min_cell=61).tables
    assert table.everything.figures is not None  # 120 with the finding, 60 in each group
    assert [row.figures for row in (*table.groups, *table.cells)] == [None] * 8
    assert table.worst_group is None


def test_every_cell_has_as_many_with_as_without_the_finding_and_ages_of_its_group() -> None:
    axes = [parse_axis(text, SCHEMA, {}) for text in ("age=20-39,40-80", "manufacturer=ge,philips")]
    asked = ask(axes, FINDING, SCHEMA, per_cell=5, seed=1)
    numbers = np.stack([axis.group_numbers(asked.rows, SCHEMA) for axis in axes], axis=1)
    assert asked.present.tolist() == (asked.rows[:, COLUMN[FINDING]] == 2).tolist()
    cells, counts = np.unique(np.c_[numbers, asked.present], axis=0, return_counts=True)
    assert (len(cells), set(counts.tolist())) == (8, {5})
    old = asked.rows[numbers[:, 0] == 1, COLUMN["age"]]
    assert old.min() >= 40
    assert old.max() <= 80
    assert np.isnan(SCHEMA.null_row()[0])
    assert [axis.group_numbers(SCHEMA.null_row()[None], SCHEMA)[0] for axis in axes] == [-1, -1]


@pytest.mark.parametrize("text", ["shoe", "view=PA", "manufacturer", "sex=F,F", "age=50-20,60-70"])
def test_a_grouping_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(UnknownGrouping, match="radiographs cannot be grouped by"):
        parse_axis(text, SCHEMA, {})


def test_changes_go_from_each_group_to_the_next_and_touch_one_attribute_only() -> None:
    axes = [parse_axis(text, SCHEMA, {}) for text in ("sex", "age=20-39,40-80")]
    planned = changes(axes, FINDING, ["edema"], SCHEMA)
    assert [each.what for each in planned] == [
        *("sex from F to M", "sex from M to F", "age from 20-39 to 60", "age from 40-80 to 29"),
        *("edema added", "cardiomegaly added", "cardiomegaly removed"),
    ]
    asked = ask(axes, FINDING, SCHEMA, per_cell=2, seed=0)
    for each in planned:
        applies = each.applies(asked.rows, SCHEMA)
        assert 0 < applies.sum() <= len(applies)
        rows = asked.rows[applies]
        differs = (each.changed(rows, SCHEMA) != rows) & ~np.isnan(rows)
        assert differs.sum(axis=0).nonzero()[0].tolist() == [COLUMN[each.attribute]]
        assert not each.applies(each.changed(rows, SCHEMA), SCHEMA).any()


def scored(scores: list[float], present: list[bool], threshold: float = 0.5) -> Scored:
    values = np.array(scores)
    return Scored(
        scores=values,
        sees=values >= threshold,
        present=np.array(present),
    )


def test_figures_are_counted_by_hand() -> None:
    found = figures(scored([0.9, 0.8, 0.2, 0.7, 0.1], [True, True, True, False, False]), seed=0)
    assert (found.num_present, found.num_absent) == (3, 2)
    assert found.auroc == pytest.approx(5 / 6)
    assert (found.sensitivity.count, found.sensitivity.total) == (2, 3)
    assert (found.specificity.count, found.specificity.total) == (1, 2)


def test_a_gap_has_the_sign_of_the_group_and_only_a_sure_and_large_one_is_a_concern() -> None:
    rng = np.random.default_rng(1)
    present = np.arange(400) % 2 == 0
    in_group = np.arange(400) < 200
    means = np.where(in_group, 0.4, 1.5) * present
    wholes = scored((rng.normal(size=400) + means).tolist(), present.tolist(), threshold=0.7)
    found = gaps(wholes, None, {"low": in_group, "high": ~in_group}, num_resamples=300, seed=0)
    low, high = found["low"][0], found["high"][0]
    assert low.gap.value == pytest.approx(-high.gap.value)
    assert low.is_concern
    assert not high.is_concern
    assert low.gap.interval.low < low.gap.value < low.gap.interval.high < 0
    even = scored((rng.normal(size=400) + present).tolist(), present.tolist(), threshold=0.7)
    for reference, is_shared in ((wholes, True), (even, False)):
        beside = gaps(wholes, reference, {"low": in_group}, num_resamples=300, seed=0)["low"][0]
        assert (beside.is_concern, beside.is_shared) == (True, is_shared)
    nothing = gaps(wholes, None, {"odd": np.arange(400) % 4 < 2}, num_resamples=300, seed=0)
    assert not any(gap.is_concern for gap in nothing["odd"])


HOW = Measuring(min_cell=2, num_resamples=300, seed=0)


def change(*, rises: bool | None = None) -> Change:
    return Change(what="x", attribute="sex", sources=(), target=1.0, rises=rises)


def answers(
    before: list[float] | NDArray[np.float64], after: list[float] | NDArray[np.float64]
) -> Answers:
    return Answers(before=np.array(before), after=np.array(after), threshold=0.5)


def test_flips_are_counted_in_their_direction() -> None:
    pairs = answers([0.1, 0.6, 0.9, 0.4], [0.7, 0.4, 0.8, 0.4])
    found = count_flips(change(), pairs, None, num_comparisons=1, how=HOW)
    assert (found.flipped.count, found.flipped.total) == (2, 4)
    assert (found.num_up, found.num_down) == (1, 1)
    assert found.shift == pytest.approx(0.075)


@pytest.mark.parametrize(
    ("shift", "share_flipped", "concern"),
    [
        (0.0, 0.0, None),
        (0.03, 0.0, None),
        (0.1, 0.0, "the score rises"),
        (-0.1, 0.0, "the score falls"),
        (0.0, 0.4, "answers flip"),
    ],
)
def test_what_should_not_matter_is_a_concern_if_answers_flip_or_scores_move(
    shift: float, share_flipped: float, concern: str | None
) -> None:
    before = np.where(np.arange(100) % 2 == 0, 0.8, 0.2)
    flips = np.arange(100) < 100 * share_flipped
    after = np.where(flips, 1 - before, before) + shift
    pairs = answers(before, after)
    found = count_flips(change(), pairs, None, num_comparisons=2, how=HOW)
    assert found.concern == concern
    assert not found.is_shared
    still = answers(before, before)
    for reference, is_shared in ((pairs, concern is not None), (still, False)):
        beside = count_flips(change(), pairs, reference, num_comparisons=2, how=HOW)
        assert (beside.concern, beside.is_shared) == (concern, is_shared)


def test_of_a_finding_that_is_removed_only_those_seen_before_count() -> None:
    pairs = answers([0.9, 0.8, 0.2, 0.1], [0.1, 0.9, 0.1, 0.1])
    found = count_flips(change(rises=False), pairs, None, num_comparisons=1, how=HOW)
    assert (found.flipped.count, found.flipped.total) == (1, 2)
