"""What a plan means, in sentences for people who decide; rules of thumb, and called so.

The noise of a step is compared with the longest sum that clipped gradients could have. Real gradients point in
different directions, so that their sum is shorter: noise as long as this signal already drowns most of it.
"""

import math
from collections.abc import Iterator

from federation.planning.plan import Plan, PrivateSteps, StagePlan

FEW_PATIENTS, STRICT_EPSILON = 1000, 3.0
"""A hospital with fewer patients learns nothing useful at this epsilon or a smaller one."""
WEAK_EPSILON = 10.0
"""Above it the promise to one patient is a formality."""
CLEAR, DROWNED = 0.5, 2.0
"""Noise to signal in the mean of all hospitals: up to where training is fine, and from where it is not useful."""
MISFIT = 0.1
"""Relative difference between the patients drawn and the divisor that is worth a sentence."""


def verdict(plan: Plan) -> list[str]:
    """All there is to say, most important first."""
    return [*_promise(plan), *_usefulness(plan), *_misfits(plan), *_fine_print(plan)]


def is_useful(plan: Plan) -> bool:
    """Whether private training is likely to teach a model anything."""
    return _worst(plan) <= DROWNED and not _too_few(plan)


def _promise(plan: Plan) -> Iterator[str]:
    open_stages = [str(stage.number) for stage in plan.stages if stage.private is None]
    if open_stages:
        yield (
            f"No guarantee: stage {', '.join(open_stages)} trains without privacy, and what a hospital sends from "
            "there may tell of single patients, whatever the other stages do."
        )
    if plan.private_steps and plan.total_epsilon > WEAK_EPSILON:
        yield f"Epsilon above {WEAK_EPSILON:g} promises one patient very little."
    if math.isinf(plan.total_epsilon):
        yield "No epsilon can be given for so little noise: every hospital will refuse."


def _usefulness(plan: Plan) -> Iterator[str]:
    if not plan.private_steps:
        return
    worst, sites = _worst(plan), plan.circumstances.num_sites
    if _too_few(plan):
        yield (
            f"Not useful: with fewer than {FEW_PATIENTS:,} patients at a hospital, epsilon of {STRICT_EPSILON:g} or "
            "less leaves nothing to learn from."
        )
    elif worst > DROWNED:
        yield f"Not useful: the noise is {worst:.1f} times the longest possible signal."
    elif worst > CLEAR:
        yield f"Hard: noise and signal are alike ({worst:.2f}); it takes a base trained on public radiographs."
    else:
        yield f"Feasible: the noise is {worst:.2f} of the longest possible signal."
    if worst > CLEAR or _too_few(plan):
        yield from _what_helps(plan, worst, sites)


def _what_helps(plan: Plan, worst: float, sites: int) -> Iterator[str]:
    """In the order in which they are cheap for a study."""
    noisiest = _noisiest(plan)
    if plan.num_in_small_adapter < noisiest.num_parameters:
        less = math.sqrt(noisiest.num_parameters / plan.num_in_small_adapter)
        yield (
            f"What would help: fewer trained parameters. Rank 4 on qkv and proj with rule alternate trains "
            f"{plan.num_in_small_adapter:,} instead of {noisiest.num_parameters:,}: {less:.1f} times less noise."
        )
    yield "What would help: more patients per step (sample_rate and batch_size together), with fewer steps."
    if worst > CLEAR:
        enough = math.ceil(sites * (worst / CLEAR) ** 2)
        yield f"What would help: more hospitals. About {enough:,} like these would do without any other change."
    if any(stage.kind == "full" and stage.private for stage in plan.stages):
        yield (
            "What would help: a base trained on public radiographs, and privacy spent on an adapter only."
        )


def _misfits(plan: Plan) -> Iterator[str]:
    for stage in plan.stages:
        if stage.private and not _fits(stage.private):
            drawn, divisor = stage.private.expected_patients, stage.private.divisor
            fitting = divisor / plan.circumstances.num_patients
            instead = f", or sample_rate to {fitting:.3g}" if fitting <= 1 else ""
            yield (
                f"Stage {stage.number} draws {drawn:.1f} patients per step and divides by {divisor}: its gradients "
                f"come out {drawn / divisor:.2g} times as long. Set batch_size to {max(1, round(drawn))}{instead}."
            )


def _fine_print(plan: Plan) -> Iterator[str]:
    now = plan.circumstances
    if not plan.private_steps:
        return
    if now.delta > 1 / (10 * now.num_patients):
        yield f"Delta should be {1 / (10 * now.num_patients):g} or less for {now.num_patients:,} patients."
    if math.isinf(plan.spending.prv) and not math.isinf(plan.spending.rdp):
        yield "Epsilon is from RDP alone, some percent too large: PRV would need too much memory."
    if now.num_sites > 1:
        yield "For a patient known to several hospitals, their epsilons add up."


def _worst(plan: Plan) -> float:
    return max((steps.mean_noise_to_signal for steps in plan.private_steps), default=0.0)


def _noisiest(plan: Plan) -> StagePlan:
    private = [stage for stage in plan.stages if stage.private]
    return max(private, key=lambda stage: stage.private.noise_to_signal if stage.private else 0.0)


def _too_few(plan: Plan) -> bool:
    few = plan.circumstances.num_patients < FEW_PATIENTS
    return bool(plan.private_steps) and few and plan.total_epsilon <= STRICT_EPSILON


def _fits(steps: PrivateSteps) -> bool:
    return abs(steps.expected_patients / steps.divisor - 1) <= MISFIT
