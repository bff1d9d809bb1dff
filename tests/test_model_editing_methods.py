"""Every way to edit against a field whose right answer is known."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from model.conditioning import Metadata, Schema
from model.editing.edit import edit_latents
from model.editing.settings import (
    EditSettings,
    FlowEdit,
    Inversion,
    Reference,
    RFInversion,
    SDEdit,
)
from model.editing.task import Task
from model.guidance import NO_GUIDANCE, Guidance

SIDE, SPREAD = 8, 0.3
SCHEMA = Schema()
SEX, CARDIOMEGALY = SCHEMA.names.index("sex"), SCHEMA.names.index("cardiomegaly")
PATTERN = torch.linspace(-0.4, 0.4, SIDE * SIDE).reshape(1, SIDE, SIDE)
"""What a value of cardiomegaly adds to the mean picture, times its id; sex adds the square of it."""


def mean_of(condition: Tensor) -> Tensor:
    """Mean picture of (batch, attribute) conditions, (batch, 1, row, column)."""
    ids = condition[:, [SEX, CARDIOMEGALY], None, None, None]
    return ids[:, 0] * PATTERN.square() + ids[:, 1] * PATTERN


def gaussian(noisy: Tensor, t: Tensor, condition: Tensor) -> Tensor:
    """Best guess of an image with independent pixels of standard deviation SPREAD around the mean.

    Two such laws differ by a shift, so the exact counterfactual of a picture is the picture plus
    the difference of the means.
    """
    level, mean = t[..., None, None, None], mean_of(condition[:, 0])[:, None]
    signal = (1 - level) * SPREAD**2
    weight = signal / ((1 - level) * signal + level**2)
    return mean + weight * (noisy - (1 - level) * mean)


def condition(sex: str | None = "F", cardiomegaly: str | None = "absent") -> Tensor:
    findings = {} if cardiomegaly is None else {"cardiomegaly": cardiomegaly}
    metadata = Metadata(
        age=60.0, sex=sex, view="PA", race=None, site=None, manufacturer=None, findings=findings
    )
    return torch.from_numpy(SCHEMA.row(metadata))[None]


HEALTHY, ILL, MALE = condition(), condition(cardiomegaly="present"), condition(sex="M")
SHIFT = mean_of(ILL) - mean_of(HEALTHY)


def picture() -> Tensor:
    noise = torch.randn(1, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(4))
    return mean_of(HEALTHY) + SPREAD * noise


def task_of(latents: Tensor, source: Tensor, target: Tensor) -> Task:
    return Task(
        network=gaussian,
        latents=latents,
        source=source,
        target=target,
        region=torch.ones(len(latents), 1, SIDE, SIDE),
        noise_size=256,
    )


def change(
    settings: EditSettings, target: Tensor = ILL, source: Tensor = HEALTHY, *, seed: int = 0
) -> Tensor:
    """What an edit adds to the picture."""
    task = task_of(picture(), source, target)
    return edit_latents(task, settings, seed=seed, numbers=[0]) - picture()


def flow(scale: float, away_from: Reference = "source") -> FlowEdit:
    guidance = Guidance(scale=scale, interval=(0.0, 1.0))
    return FlowEdit(
        num_steps=200, local_share=1.0, guidance=guidance, away_from=away_from, faint=0.0
    )


def test_flow_edit_adds_what_tells_the_two_laws_apart() -> None:
    torch.testing.assert_close(change(flow(1.0)), SHIFT, atol=0.01, rtol=0)


def test_contrast_carries_the_change_as_far_as_its_scale_says() -> None:
    torch.testing.assert_close(change(flow(2.0)), 2 * SHIFT, atol=0.02, rtol=0)


def test_attribute_local_guidance_moves_away_from_the_edited_attribute_unknown() -> None:
    unknown = condition(cardiomegaly=None)
    expected = SHIFT + (mean_of(ILL) - mean_of(unknown))
    torch.testing.assert_close(change(flow(2.0, "unset")), expected, atol=0.02, rtol=0)


def test_the_usual_guidance_moves_along_what_was_not_edited_too() -> None:
    expected = SHIFT + mean_of(ILL) - mean_of(torch.zeros_like(ILL))
    torch.testing.assert_close(change(flow(2.0, "nothing")), expected, atol=0.02, rtol=0)


@pytest.mark.parametrize("order", [1, 2])
def test_inversion_comes_back_with_the_change(order: int) -> None:
    settings = Inversion(num_steps=200, share=1.0, order=2 if order == 2 else 1)
    tolerance = 0.02 if order == 1 else 0.002
    torch.testing.assert_close(change(settings), SHIFT, atol=tolerance, rtol=0)


def test_sdedit_without_noise_changes_nothing_and_from_pure_noise_keeps_nothing() -> None:
    assert not change(SDEdit(share=0.0)).any()
    whole = SDEdit(num_steps=400, share=1.0, guidance=NO_GUIDANCE)
    ends = [picture() + change(whole, seed=seed) for seed in range(64)]
    mean = torch.stack(ends).mean(dim=0)
    torch.testing.assert_close(mean, mean_of(ILL), atol=5 * SPREAD / 8, rtol=0)


def test_rf_inversion_that_is_pulled_all_the_way_returns_the_picture() -> None:
    settings = RFInversion(pull_to_source=1.0, pulled_share=1.0)
    torch.testing.assert_close(change(settings), torch.zeros_like(SHIFT), atol=1e-5, rtol=0)


def test_rf_inversion_that_is_not_pulled_follows_the_target() -> None:
    free = RFInversion(num_steps=200, pull_to_noise=1.0, pulled_share=0.0)
    to_ill, to_male = change(free), change(free, MALE)
    expected = mean_of(ILL) - mean_of(MALE)
    torch.testing.assert_close(to_ill - to_male, expected, atol=0.01, rtol=0)


def test_rf_inversion_that_is_pulled_into_the_noise_forgets_the_picture() -> None:
    settings = RFInversion(num_steps=50, pull_to_noise=1.0, pulled_share=0.0)
    ends = [
        edit_latents(task_of(start, HEALTHY, ILL), settings, seed=0, numbers=[0])
        for start in (picture(), -picture())
    ]
    torch.testing.assert_close(ends[0], ends[1], atol=1e-4, rtol=0)


def test_a_finding_moves_nothing_at_the_noise_levels_that_only_sex_is_given() -> None:
    settings = FlowEdit(num_steps=50, local_share=0.0, global_share=1.0)
    assert not change(settings).any()
    assert change(settings, MALE).any()


def test_each_picture_of_a_batch_begins_at_its_own_noise_level() -> None:
    pictures = picture().expand(2, -1, -1, -1)
    task = task_of(pictures, HEALTHY.expand(2, -1), torch.cat([ILL, MALE]))
    settings = FlowEdit(num_steps=50, local_share=0.0, global_share=1.0)
    heart, sex = edit_latents(task, settings, seed=0, numbers=[0, 1]) - task.latents
    assert not heart.any()
    assert sex.any()


def test_an_age_that_both_do_not_know_counts_as_equal() -> None:
    source, target = HEALTHY.clone(), ILL.clone()
    source[:, 0] = target[:, 0] = torch.nan
    settings = FlowEdit(num_steps=20, local_share=0.0)
    assert not change(settings, target, source).any()


@pytest.mark.parametrize("away_from", ["source", "unset"])
def test_flow_edit_returns_every_bit_where_nothing_is_to_change(away_from: Reference) -> None:
    assert not change(flow(3.0, away_from), HEALTHY).any()
    assert not change(FlowEdit(num_steps=5, away_from=away_from), HEALTHY).any()


def test_a_change_as_strong_as_faint_is_halved_and_the_strongest_nearly_kept() -> None:
    strong, weak = torch.zeros_like(SHIFT), torch.zeros_like(SHIFT)
    strong[..., :3], weak[..., -3:] = 0.8, 0.2
    both = strong + weak

    def network(noisy: Tensor, _t: Tensor, condition: Tensor) -> Tensor:
        ill = condition[:, 0, CARDIOMEGALY] == 2
        return torch.where(ill[:, None, None, None, None], both, 0.0).expand_as(noisy)

    task = replace(task_of(picture(), HEALTHY, ILL), network=network)
    plain = edit_latents(task, flow(1.0), seed=0, numbers=[0]) - picture()
    torch.testing.assert_close(plain, both, atol=0.01, rtol=0)
    settings = replace(flow(1.0), faint=0.25)
    made = edit_latents(task, settings, seed=0, numbers=[0]) - picture()
    torch.testing.assert_close(made[..., :2], strong[..., :2] * 16 / 17, atol=0.01, rtol=0)
    torch.testing.assert_close(made[..., -2:], weak[..., -2:] / 2, atol=0.01, rtol=0)


def test_more_noises_in_a_step_do_not_move_what_they_average() -> None:
    settings = replace(flow(1.0), num_noises=3)
    torch.testing.assert_close(change(settings), SHIFT, atol=0.01, rtol=0)
