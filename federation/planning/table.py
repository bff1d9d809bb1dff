"""A plan as text for a terminal and as facts for a program; no epsilon stands without delta and adjacency."""

import math
from collections.abc import Sequence
from dataclasses import asdict

from federation.planning.plan import Plan, StagePlan, Target
from federation.planning.verdict import is_useful, verdict
from privacy.accounting.epsilon import ADJACENCY

COLUMNS = (
    "stage",
    "trains",
    "parameters",
    "steps",
    "rate",
    "drawn / L",
    "sigma",
    "epsilon",
    "noise",
)
NO_GUARANTEE = ("-", "-", "-", "no guarantee", "-")


def facts(plan: Plan) -> dict[str, object]:
    """Everything, for a program; null where a number is infinite."""
    told = {
        **asdict(plan),
        "epsilon": plan.spending.value,
        "total_epsilon": plan.total_epsilon,
        "adjacency": ADJACENCY,
        "guarantee": plan.is_private,
        "useful": is_useful(plan) if plan.private_steps else None,
        "verdict": verdict(plan),
    }
    return {name: _finite(value) for name, value in told.items()}


def render(plan: Plan) -> str:
    """What was supposed, the stages, the wanted epsilons, and what it all means."""
    return "\n".join(
        [
            _supposed(plan),
            "",
            *_aligned([_headings(plan), *(_stage_row(plan, stage) for stage in plan.stages)]),
            *_total(plan),
            *_targets(plan),
            "",
            *verdict(plan),
        ]
    )


def _supposed(plan: Plan) -> str:
    now = plan.circumstances
    hospitals = f"each of {now.num_sites} hospitals" if now.num_sites > 1 else "one hospital"
    return (
        f"Supposed: {now.num_patients:,} patients at {hospitals}. Epsilon is of one hospital, at delta "
        f"{now.delta:g}, for {ADJACENCY}.\nNoise is a step's, over its longest possible signal."
    )


def _headings(plan: Plan) -> tuple[str, ...]:
    sites = plan.circumstances.num_sites
    return (*COLUMNS, f"in the mean of {sites}") if sites > 1 else COLUMNS


def _stage_row(plan: Plan, stage: StagePlan) -> tuple[str, ...]:
    start = (str(stage.number), stage.kind, f"{stage.num_parameters:,}", f"{stage.num_steps:,}")
    mean = plan.circumstances.num_sites > 1
    if (steps := stage.private) is None:
        return (*start, *NO_GUARANTEE, *(["-"] if mean else []))
    return (
        *start,
        f"{steps.sample_rate:.4g}",
        f"{steps.expected_patients:.1f} / {steps.divisor}",
        f"{steps.noise_multiplier:.3g}",
        f"{steps.epsilon:.2f}",
        f"{steps.noise_to_signal:.2f}",
        *([f"{steps.mean_noise_to_signal:.2f}"] if mean else []),
    )


def _total(plan: Plan) -> list[str]:
    if not plan.private_steps:
        return []
    spent = plan.circumstances.spent
    before = f", with the {spent:.2f} spent before {plan.total_epsilon:.2f}" if spent else ""
    which = "all stages" if plan.is_private else "the stages with privacy"
    return ["", f"{which} together: {plan.spending}{before}"]


def _targets(plan: Plan) -> list[str]:
    if not plan.targets:
        return []
    columns = 4 if plan.circumstances.num_sites > 1 else 3
    rows = [("wanted epsilon", "sigma", "noise", "in the mean"), *map(_target_row, plan.targets)]
    return ["", *_aligned([row[:columns] for row in rows])]


def _target_row(target: Target) -> tuple[str, ...]:
    if math.isinf(target.noise_multiplier):
        return (f"{target.epsilon:g}", "none suffices", "-", "-")
    sigma = math.ceil(target.noise_multiplier * 1000) / 1000
    ratios = (target.noise_to_signal, target.mean_noise_to_signal)
    return (f"{target.epsilon:g}", f"{sigma:.3f}", *(f"{ratio:.2f}" for ratio in ratios))


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]


def _finite(value: object) -> object:
    """The same with None for every infinity in it, of which JSON knows none."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if value == math.inf else value
