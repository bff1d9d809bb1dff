"""Bugs that private training must not have, each planted in the real code and found.

A bug is put in the place of a real function of ``privacy.training``; a function that is renamed breaks the test that
plants its bug. The rehearsal with canaries has to find what weakens noise against signal. What it cannot see, laws of a
single step find: properties that correct code has and the bug takes away.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from client.private_training import mechanism_of
from federation.planning import spending
from federation.privacy_terms import PrivacyTerms
from federation.stages import LocalTraining
from privacy.accounting.phase import Phase
from privacy.audit.canaries import Plan, rehearse
from privacy.training import gradients, opacus_hooks, step
from privacy.training.entropy import Entropy, SystemEntropy
from privacy.training.gradients import Clipped, Clipper, Ghost, LossOf, Materialised, clipping
from privacy.training.mechanism import Mechanism
from privacy.training.patients import draw_patients
from privacy.training.step import private_step

PLAN = Plan(num_layers=2, num_images=2)
"""A small network is enough where the bug is in no layer."""

Way = Callable[[nn.Module], Clipper]
Plant = Callable[[pytest.MonkeyPatch], None]
REAL_NOISED, REAL_FACTORS, REAL_SUM = step.noised, gradients.clip_factors, gradients.clipped_sum
REAL_NORMS = opacus_hooks.NormHooks.take


def plant_noised(change: Callable[[Tensor, float, Entropy], Tensor]) -> Plant:
    return lambda patch: patch.setattr(step, "noised", change)


def plant_draw(change: Callable[[int, float, Entropy], NDArray[np.int64]]) -> Plant:
    return lambda patch: patch.setattr(step, "draw_patients", change)


def plant_factors(change: Callable[[Tensor, float], Tensor]) -> Plant:
    return lambda patch: patch.setattr(gradients, "clip_factors", change)


def plant_normal(change: Callable[[SystemEntropy, int], NDArray[np.float64]]) -> Plant:
    return lambda patch: patch.setattr(SystemEntropy, "normal", change)


def noise_once_a_round(patch: pytest.MonkeyPatch) -> None:
    num_tensors = itertools.count()

    def noised(value: Tensor, scale: float, entropy: Entropy) -> Tensor:
        is_first_step = next(num_tensors) < PLAN.num_layers
        return REAL_NOISED(value, scale if is_first_step else 0.0, entropy)

    patch.setattr(step, "noised", noised)


def clipped_per_layer(patch: pytest.MonkeyPatch) -> None:
    def largest_alone(hooks: opacus_hooks.NormHooks, parameters: dict[str, nn.Parameter]) -> Tensor:
        alone = [REAL_NORMS(hooks, {name: part}) for name, part in parameters.items()]
        return torch.stack(alone).amax(dim=0)

    patch.setattr(opacus_hooks.NormHooks, "take", largest_alone)


def noise_without_the_bound(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Mechanism, "noise_scale", property(lambda self: self.noise_multiplier))


SEEN_BY_THE_REHEARSAL: dict[str, Plant] = {
    "noise / 5": plant_noised(lambda v, s, e: REAL_NOISED(v, s / 5, e)),
    "no noise": plant_noised(lambda v, s, e: v.clone()),
    "noise once a round": noise_once_a_round,
    "noise without the bound C": noise_without_the_bound,
    "noise already divided by L": plant_noised(
        lambda v, s, e: REAL_NOISED(v, s / PLAN.mechanism.batch_size, e)
    ),
    "the same noise every step": plant_normal(
        lambda self, count: np.random.default_rng(5).standard_normal(count)
    ),
    "clip skipped": plant_factors(lambda norms, bound: torch.ones_like(norms)),
    "clip to the square root's bound": plant_factors(
        lambda norms, bound: (bound / norms.sqrt()).clamp(max=1.0)
    ),
    "a patient counted four times (clipped image by image)": plant_draw(
        lambda n, q, e: np.repeat(draw_patients(n, q, e), 4)
    ),
    "sampled four times as often": plant_draw(lambda n, q, e: draw_patients(n, min(1.0, 4 * q), e)),
}


# A bug could be missed, and correct code accused, by chance: noise and coins are the operating system's. By the theory
# of normal scores the weakest bugs (four times, C missing) are missed once in 10**6 runs, correct code is accused once
# in 10**9.
@pytest.mark.parametrize("plant", SEEN_BY_THE_REHEARSAL.values(), ids=SEEN_BY_THE_REHEARSAL)
def test_the_rehearsal_finds_a_seeded_bug(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)

    assert rehearse(PLAN, way=Ghost).verdict == "fail"


@pytest.mark.parametrize("bug", ["noise / 5", "clip skipped"])
def test_the_rehearsal_finds_it_where_gradients_are_materialised(
    bug: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    SEEN_BY_THE_REHEARSAL[bug](monkeypatch)

    assert rehearse(PLAN, way=Materialised).verdict == "fail"


def test_the_rehearsal_passes_without_a_bug() -> None:
    assert rehearse(PLAN, way=Ghost).verdict == "pass"


@pytest.mark.slow
def test_the_rehearsal_finds_clipping_layer_by_layer_if_there_are_layers_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clipped_per_layer(monkeypatch)

    assert rehearse(Plan(num_layers=16, num_images=1), way=Ghost).verdict == "fail"


MECHANISM = Mechanism(noise_multiplier=2.0, sample_rate=1.0, max_grad_norm=0.5, batch_size=64)
SIDE = 40


def sums(
    patients: Float[Tensor, "patient side"], mechanism: Mechanism, *, num_steps: int = 1
) -> list[NDArray[np.float64]]:
    """What each tensor is moved by in each step, before the division by L."""
    network = nn.Sequential(nn.Linear(SIDE, SIDE, bias=False), nn.Linear(SIDE, SIDE, bias=False))
    for number, layer in enumerate(network):
        nn.init.eye_(layer.get_parameter("weight")).data[number] += 1.0
    optimizer = torch.optim.SGD(network.parameters(), lr=mechanism.batch_size)
    moved = []
    with clipping(network, Ghost) as clipper:
        for _ in range(num_steps):
            before = [weight.detach().double() for weight in network.parameters()]
            private_step(
                clipper,
                optimizer,
                lambda chosen: network(patients[torch.from_numpy(chosen)]).sum(dim=1),
                mechanism,
                num_patients=len(patients),
                at_once=2,
                entropy=SystemEntropy(),
            )
            after = [weight.detach().double() for weight in network.parameters()]
            moved += [(old - new).numpy().ravel() for old, new in zip(before, after, strict=True)]
    return moved


def no_patient_changes_the_sum_by_more_than_the_bound() -> bool:
    loudness = torch.tensor([1e-3, 1e-3, 1.0, 100.0, 0.3])
    patients = loudness[:, None] * torch.linspace(-1, 2, SIDE) + 0.01 * torch.eye(5, SIDE)
    mechanism = replace(MECHANISM, noise_multiplier=0.0)
    everyone = np.concatenate(sums(patients, mechanism))
    changes = [
        np.linalg.norm(everyone - np.concatenate(sums(rest, mechanism)))
        for rest in (patients[torch.arange(5) != left_out] for left_out in range(5))
    ]
    return float(max(changes)) <= MECHANISM.max_grad_norm * (1 + 1e-4)


def every_number_of_every_step_has_noise_of_its_own() -> bool:
    noise = sums(torch.empty(0, SIDE), MECHANISM, num_steps=2)
    scales = np.std(noise, axis=1) / MECHANISM.noise_scale
    # 6 standard deviations, of 1 600 numbers each.
    if (np.abs(scales - 1) > 6 / SIDE / math.sqrt(2)).any():
        return False
    alike = np.asarray(np.corrcoef(noise))[np.triu_indices(len(noise), 1)]
    return bool((np.abs(alike) < 6 / SIDE).all())


def known_seeds_repeat_nothing() -> bool:
    runs = []
    for _ in range(2):
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(1)
            runs.append(np.concatenate(sums(torch.empty(0, SIDE), MECHANISM)))
    return bool(abs(np.asarray(np.corrcoef(runs))[0, 1]) < 6 / math.sqrt(len(runs[0])))


def every_patient_has_a_coin_of_their_own() -> bool:
    entropy, draw = SystemEntropy(), vars(step)["draw_patients"]
    counts = np.array([len(draw(400, 0.25, entropy)) for _ in range(300)])
    few = np.array([len(draw(3, 0.1, entropy)) for _ in range(3000)])
    # 6 standard deviations of a mean and of a variance of 300 counts, and of a mean of 3 000.
    right_mean = abs(counts.mean() - 100) < 6 * math.sqrt(75 / 300)
    right_variance = abs(counts.var() / 75 - 1) < 6 * math.sqrt(2 / 300)
    right_few = abs(few.mean() - 0.3) < 6 * math.sqrt(0.27 / 3000)
    return bool(right_mean and right_variance and right_few)


def a_round_is_charged_for_all_it_does() -> bool:
    terms = PrivacyTerms(
        noise_multiplier=2.0, sample_rate=0.25, max_grad_norm=1.0, loss_noise_multiplier=6.0
    )
    local = LocalTraining(local_steps=30, batch_size=8, learning_rate=0.1, privacy=terms)
    mechanism, phase = mechanism_of(local), spending.charged_phase(terms, local.local_steps)
    # One vector of the gradient's sum, the loss's and the number's, each in units of what one patient adds at most.
    loss = mechanism.loss
    assert loss is not None
    length = math.hypot(1 / mechanism.noise_multiplier, *[1 / loss.noise_multiplier] * 2)
    return (
        math.isclose(phase.noise_multiplier, 1 / length)
        and phase.sample_rate == mechanism.sample_rate
        and phase.num_steps == local.local_steps
    )


LAWS = [
    no_patient_changes_the_sum_by_more_than_the_bound,
    every_number_of_every_step_has_noise_of_its_own,
    known_seeds_repeat_nothing,
    every_patient_has_a_coin_of_their_own,
    a_round_is_charged_for_all_it_does,
]


@pytest.mark.parametrize("law", LAWS)
def test_the_law_holds(law: Callable[[], bool]) -> None:
    assert law()


def divided_by_the_number_drawn(patch: pytest.MonkeyPatch) -> None:
    def scaled(
        clipper: Clipper, loss_of: LossOf, patients: NDArray[np.int64], **rest: float
    ) -> Clipped:
        clipped = REAL_SUM(clipper, loss_of, patients, **rest)  # type: ignore[arg-type]
        share = MECHANISM.batch_size / max(1, len(patients))
        return replace(
            clipped, gradient={name: part * share for name, part in clipped.gradient.items()}
        )

    patch.setattr(step, "clipped_sum", scaled)


def norms_of_an_earlier_pass(patch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []

    def remembered(hooks: opacus_hooks.NormHooks, parameters: dict[str, nn.Parameter]) -> Tensor:
        seen.append(REAL_NORMS(hooks, parameters))
        return seen[0][: len(seen[-1])]

    patch.setattr(opacus_hooks.NormHooks, "take", remembered)


def charged(**wrong: float) -> Plant:
    return lambda patch: patch.setattr(
        spending, "Phase", lambda **right: Phase(**{**right, **wrong})
    )


def the_same_noise_in_every_layer(patch: pytest.MonkeyPatch) -> None:
    known: dict[int, NDArray[np.float64]] = {}
    num_tensors = itertools.count()

    def noised(value: Tensor, scale: float, entropy: Entropy) -> Tensor:
        noise = known.setdefault(next(num_tensors) // 2, entropy.normal(value.numel()))
        return value + scale * torch.from_numpy(noise).float().reshape(value.shape)

    patch.setattr(step, "noised", noised)


def drawn_until_somebody_is(num_patients: int, rate: float, entropy: Entropy) -> NDArray[np.int64]:
    while not len(drawn := draw_patients(num_patients, rate, entropy)):
        pass
    return drawn


BREAKS = {
    "clipped layer by layer": (clipped_per_layer, LAWS[0]),
    "norms of an earlier pass": (norms_of_an_earlier_pass, LAWS[0]),
    "divided by the number drawn": (divided_by_the_number_drawn, LAWS[0]),
    "the bound taken from the patients": (
        plant_factors(lambda norms, bound: REAL_FACTORS(norms, float(norms.median()))),
        LAWS[0],
    ),
    "no noise where nobody was drawn": (
        plant_noised(lambda v, s, e: REAL_NOISED(v, s, e) if v.any() else v.clone()),
        LAWS[1],
    ),
    "the same noise every step": (SEEN_BY_THE_REHEARSAL["the same noise every step"], LAWS[1]),
    "the same noise in every layer": (the_same_noise_in_every_layer, LAWS[1]),
    "noise / 5": (SEEN_BY_THE_REHEARSAL["noise / 5"], LAWS[1]),
    "noise from torch's generator": (
        plant_noised(lambda v, s, e: v + s * torch.randn(v.shape)),
        LAWS[2],
    ),
    "noise from a seed of the study": (
        plant_normal(lambda self, count: np.random.default_rng(count).standard_normal(count)),
        LAWS[2],
    ),
    "draws of a fixed size": (
        plant_draw(lambda n, q, e: np.argsort(e.uniform(n))[: round(n * q)].astype(np.int64)),
        LAWS[3],
    ),
    "an empty draw drawn again": (
        plant_draw(drawn_until_somebody_is),
        LAWS[3],
    ),
    "sampled four times as often": (SEEN_BY_THE_REHEARSAL["sampled four times as often"], LAWS[3]),
    "one step charged": (charged(num_steps=1), LAWS[4]),
    "a smaller rate charged": (charged(sample_rate=0.01), LAWS[4]),
    "the loss charged nothing": (charged(noise_multiplier=2.0), LAWS[4]),
}


@pytest.mark.parametrize(("plant", "law"), BREAKS.values(), ids=BREAKS)
def test_a_seeded_bug_breaks_a_law(
    plant: Plant, law: Callable[[], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)

    assert not law()
