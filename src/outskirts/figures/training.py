"""The log of a training on axes: losses, validation accuracy, and the diagnostics of its method."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MultipleLocator
from numpy.typing import NDArray

from .diagnostics import Diagnostic, diagnostics
from .style import DASHED, INK, SERIES

__all__ = ["accuracy", "diagnostic", "draw_losses", "drawings", "loss_names"]

Records = Sequence[Mapping[str, Any]]


def drawings(records: Records) -> dict[str, Callable[[Axes], None]]:
    """All that there is to draw of a log, by title: what draws it on axes, with its legend."""
    panels: dict[str, Callable[[Axes], None]] = {}
    if loss_names(records):
        panels["Losses"] = lambda axes: draw_losses(axes, records)
    if any("accuracy" in record for record in records if record["kind"] == "val"):
        panels["Validation accuracy"] = lambda axes: accuracy(axes, records)
    for chart in diagnostics(records):
        panels[chart.title] = partial(diagnostic, chart=chart)
    return {title: partial(_with_legend, draw=draw) for title, draw in panels.items()}


def _with_legend(axes: Axes, draw: Callable[[Axes], None]) -> None:
    draw(axes)
    if len(axes.get_legend_handles_labels()[1]) > 1:
        axes.legend(fontsize=7, handlelength=1.4)


def loss_names(records: Records) -> list[tuple[str, str]]:
    """The kind of record and the name of each scalar of the log whose name starts with "loss"."""
    return list(dict.fromkeys((m["kind"], key) for m in records for key in m if key.startswith("loss")))


def draw_losses(axes: Axes, records: Records) -> None:
    """Draw every loss in the log against the epoch, labelled for a legend."""
    for index, (kind, key) in enumerate(loss_names(records)):
        epochs, values = _smooth((m["epoch"], m[key]) for m in records if m["kind"] == kind and key in m)
        style = "-" if index < len(SERIES) else "--"
        text = f"{kind}: {key.replace('_', ' ')}"
        axes.plot(epochs, values, style, color=SERIES[index % len(SERIES)], label=text)
    axes.set(xlabel="epoch", ylabel="loss")


def accuracy(axes: Axes, records: Records) -> None:
    """Draw the validation accuracy, in per cent, against the epoch."""
    points = [(m["epoch"], 100 * m["accuracy"]) for m in records if m["kind"] == "val" and "accuracy" in m]
    axes.plot(*np.array(points).reshape(-1, 2).T, color=SERIES[2], marker="o", markersize=2.5)
    axes.set(xlabel="epoch", ylabel="validation accuracy, %")


def diagnostic(axes: Axes, chart: Diagnostic) -> None:
    """Draw the curves of a diagnostic against the epoch, labelled for a legend, and what guessing reaches."""
    if chart.chance is not None:
        axes.axhline(chart.chance, color=INK, linestyle=DASHED, linewidth=0.7)
    for (name, points), color in zip(chart.curves.items(), SERIES):
        epochs, values = _smooth(points)
        axes.plot(epochs, values, color=color, marker="o" if len(epochs) == 1 else "", markersize=2.5, label=name)
    # Limits hold what the curves need, with the usual margin, and the span.
    axes.update_datalim([(0, value) for value in chart.span])
    axes.autoscale_view()
    axes.set(xlabel="epoch", ylabel=chart.unit)
    if chart.step is not None:
        axes.yaxis.set_major_locator(MultipleLocator(chart.step))


def _smooth(points: Iterable[tuple[float, float]], most: int = 200) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """At most `most` points: averages over neighbours, as a curve of every step is noise and megabytes."""
    series = np.array(list(points), float).reshape(-1, 2)
    chunks = np.array_split(series, min(most, len(series)))
    epochs, values = np.array([chunk.mean(0) for chunk in chunks]).T
    return epochs, values
