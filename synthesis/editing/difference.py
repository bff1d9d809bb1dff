"""Before, after, and what changed: one picture that a person can judge an edit by."""

import math
from io import BytesIO

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

mpl.use("Agg")

Pixels = NDArray[np.float32]
INK, MUTED = "#1c2733", "#6b7785"


def difference_png(before: Pixels, after: Pixels, *, edits: str) -> bytes:
    """A PNG with both pictures and their signed difference, which is white where nothing changed.

    Args:
        before: (row, column) in [-1, 1].
        after: the same for the edited picture.
        edits: what was asked for, in words.
    """
    change = (after - before) / np.float32(2.0)
    limit = _round_up(float(np.abs(change).max()))
    figure = Figure(figsize=(10, 4.2), dpi=110)
    grid = figure.add_gridspec(
        1,
        4,
        width_ratios=(1, 1, 1, 0.05),
        left=0.01,
        right=0.94,
        top=0.83,
        bottom=0.16,
        wspace=0.05,
    )
    panels = [figure.add_subplot(grid[0, column]) for column in range(4)]
    for axes, pixels, title in zip(panels, (before, after), ("before", "after"), strict=False):
        axes.imshow(pixels, cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
        _label(axes, title)
    shown = panels[2].imshow(
        change, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest"
    )
    _label(panels[2], "difference: red brighter, blue darker")
    _add_scale(figure.colorbar(shown, cax=panels[3]).ax, limit)
    figure.suptitle(edits, fontsize=11, color=INK)
    figure.text(0.01, 0.03, _caption(before, after), fontsize=8, color=MUTED, linespacing=1.5)
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def changed_share(before: Pixels, after: Pixels) -> float:
    """Share of the picture that changed by more than a hundredth of full brightness."""
    return float((np.abs(after - before) / 2 > 0.01).mean())


def _round_up(largest: float) -> float:
    """The end of the colours: the next twentieth of full brightness."""
    return max(1, math.ceil(20 * largest)) / 20


def _label(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=10, color=INK)
    axes.set_xticks([])
    axes.set_yticks([])


def _add_scale(axes: Axes, limit: float) -> None:
    """Five marks in percent, the middle one at no change."""
    marks = np.linspace(-limit, limit, 5)
    axes.set_yticks(marks, [f"{100 * mark:+g} %" if mark else "0" for mark in marks])
    axes.tick_params(labelsize=8, colors=MUTED)


def _caption(before: Pixels, after: Pixels) -> str:
    share = 100 * changed_share(before, after)
    return (
        "White: unchanged. Colours in percent of full brightness; "
        f"{share:.0f} % of the picture changed by more than 1 %.\n"
        "Made by a program from a radiograph: not for diagnosis, and it must stay in the hospital."
    )
