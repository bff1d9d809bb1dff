"""The pictures of a report: samples over conditions, losses over rounds, the comparison."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, NullFormatter

from model.conditioning import Metadata, Schema
from model.generate import Generator, draw
from model.guidance import Guidance
from model.sampler import Sampling
from server.status import StudyStatus
from simulation.summary import UNTRAINED, Summary

mpl.use("Agg")

COLUMNS = (
    *("no_finding", "cardiomegaly", "pleural_effusion", "consolidation"),
    *("edema", "pneumothorax", "lung_lesion", "support_devices"),
)
ROWS = (("PA", "F", 30.0), ("PA", "M", 55.0), ("AP", "F", 65.0), ("AP", "M", 80.0))
NUM_STEPS, GUIDANCE = 20, 1.25
INK, MUTED, ACCENT, OTHERS = (
    "#1c2733",
    "#6b7785",
    "#0b6e99",
    ("#c46a1b", "#5b8c3a", "#8257a6", "#a3485a"),
)


def draw_samples(path: Path, generator: Generator) -> None:
    """An 8 x 4 sheet: one finding a column, one kind of patient a row, the same noise everywhere in a row."""
    schema = generator.schema
    findings = [name for name in COLUMNS if name in schema.findings]
    rows = [schema.row(_condition(who, name, schema)) for who in ROWS for name in findings]
    sampling = Sampling(num_steps=NUM_STEPS, guidance=Guidance(scale=GUIDANCE), method="heun")
    images = draw(generator, torch.from_numpy(np.stack(rows)), seed=0, sampling=sampling)
    figure = Figure(figsize=(1.3 * len(findings), 1.3 * len(ROWS) + 0.4), dpi=110)
    for number, axes in enumerate(figure.subplots(len(ROWS), len(findings), squeeze=False).flat):
        axes.imshow(images[number, 0].numpy(), cmap="gray", vmin=-1, vmax=1)
        axes.set_xticks([])
        axes.set_yticks([])
        row, column = divmod(number, len(findings))
        if row == 0:
            axes.set_title(findings[column].replace("_", " "), fontsize=8, color=INK)
        if column == 0:
            view, sex, age = ROWS[row]
            axes.set_ylabel(f"{view}, {sex}, {age:.0f}", fontsize=8, color=INK)
    figure.subplots_adjust(left=0.04, right=0.995, top=0.93, bottom=0.01, wspace=0.03, hspace=0.03)
    figure.savefig(path)


def draw_losses(path: Path, status: StudyStatus, *, adapter_start: int | None) -> None:
    """Training and held-out loss of every hospital over the rounds.

    Args:
        path: The PNG.
        status: A finished study.
        adapter_start: Round from which an adapter trains, or None.
    """
    figure = Figure(figsize=(9, 3.2), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    sites = sorted({part.site for part in status.parts})
    for site, colour in zip(sites, _colours(len(sites)), strict=True):
        parts = [part for part in status.parts if part.site == site and part.state == "admitted"]
        numbers = [part.number for part in parts]
        left.plot(numbers, [part.loss for part in parts], color=colour, marker=".", label=site)
        right.plot(numbers, [part.held_out_loss for part in parts], color=colour, marker=".")
    for axes, title in (
        (left, "training, at each hospital"),
        (right, "held-out, weights received for the round"),
    ):
        axes.set_title(title, fontsize=9, color=INK)
        axes.set_xlabel("round", fontsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _plain(axes)
        if adapter_start is not None:
            axes.axvline(adapter_start - 0.5, color=MUTED, linewidth=0.8, linestyle=":")
            where = (adapter_start - 0.4, axes.get_ylim()[1])
            axes.annotate("adapter", where, fontsize=7, va="top", color=MUTED)
    left.set_ylabel("loss", fontsize=8)
    left.set_yscale("log")
    left.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    left.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    left.yaxis.set_minor_formatter(NullFormatter())
    figure.legend(loc="outside lower center", ncols=min(4, len(sites)), fontsize=8, frameon=False)
    figure.savefig(path)


def draw_comparison(path: Path, summary: Summary) -> None:
    """Held-out loss of every way to train, as bars."""
    rows = [row for row in summary.rows() if row[0] != UNTRAINED][::-1]
    figure = Figure(figsize=(9, 0.4 * len(rows) + 0.7), dpi=110, layout="constrained")
    axes = figure.subplots()
    colours = [ACCENT if name.startswith("federated") else "#b8c1cb" for name, _ in rows]
    bars = axes.barh(
        [name for name, _ in rows], [loss for _, loss in rows], color=colours, height=0.65
    )
    axes.bar_label(bars, fmt="%.4f", padding=4, fontsize=8, color=INK)
    axes.set_xlabel(f"loss on {summary.judged_on} (lower is better)", fontsize=8)
    axes.margins(x=0.1)
    _plain(axes)
    figure.savefig(path)


def _condition(who: tuple[str, str, float], finding: str, schema: Schema) -> Metadata:
    view, sex, age = who
    findings = {name: "present" if name == finding else "absent" for name in schema.findings}
    return Metadata(
        age=age, sex=sex, view=view, race=None, site=None, manufacturer=None, findings=findings
    )


def _colours(count: int) -> list[str]:
    palette = (ACCENT, *OTHERS)
    return [palette[number % len(palette)] for number in range(count)]


def _plain(axes: Axes) -> None:
    axes.tick_params(labelsize=8, colors=INK)
    axes.grid(visible=True, axis="both", color="#e4e8ec", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
