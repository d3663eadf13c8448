"""How sure a classifier may be, on axes: risk against coverage, and accuracy against confidence."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from .style import DASHED, INK, SERIES

__all__ = ["reliability", "risk_coverage"]


def risk_coverage(axes: Axes, curves: Mapping[str, tuple[ArrayLike, ArrayLike]], kept: float | None = None) -> None:
    """Draw the error rate of the images that are kept against the share that is kept.

    Arguments:
        axes: Where to draw. The curves are labelled for a legend.
        curves: Coverage [N] and risk [N] of each curve, by name.
        kept: Share of images that a threshold keeps, to mark.
    """
    top = 0.0
    for (name, (coverage, risk)), color in zip(curves.items(), SERIES):
        x, y = 100 * np.asarray(coverage, float), 100 * np.asarray(risk, float)
        axes.plot(x, y, color=color, label=name)
        # The first few images make the curve jump; what is beyond the axis is said to be so by the curve's end.
        top = max(top, y[x >= 5].max(initial=0.0))
    if kept is not None:
        axes.axvline(100 * kept, color=INK, linestyle=DASHED, linewidth=0.9)
    axes.set(xlim=(0, 100), ylim=(0, max(1.08 * top, 0.5)), xlabel="images kept, %", ylabel="wrong among them, %")


def reliability(axes: Axes, confidence: ArrayLike, accuracy: ArrayLike, counts: ArrayLike) -> None:
    """Draw the accuracy of bins of images against their confidence, and the line on which both are equal.

    Arguments:
        axes: Where to draw.
        confidence: Mean confidence of each bin, [B].
        accuracy: Accuracy of each bin, [B].
        counts: Number of images of each bin, [B]; larger bins have larger points.
    """
    x, y, n = (np.asarray(values, float) for values in (confidence, accuracy, counts))
    some = n > 0
    axes.plot([0, 100], [0, 100], color=INK, linestyle=DASHED, linewidth=0.9)
    axes.vlines(100 * x[some], 100 * x[some], 100 * y[some], color=SERIES[0], linewidth=1.0, alpha=0.6)
    size = 12 + 90 * n[some] / max(1.0, n.max(initial=1.0))
    axes.scatter(100 * x[some], 100 * y[some], s=size, color=SERIES[0], clip_on=False, zorder=3)
    axes.set(xlim=(0, 100), ylim=(0, 103), xlabel="confidence, %", ylabel="right, %")
