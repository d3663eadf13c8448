"""Charts as inline SVG that take their ink from the page, so that they follow its light or dark scheme."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup, escape
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator
from numpy.typing import ArrayLike, NDArray

from ..figures.style import FAINT, FONT, INK, SERIES, STYLE
from .diagnostics import Diagnostic

__all__ = ["accuracy_curve", "diagnostic", "histogram", "loss_curves", "roc"]

ID, OOD = SERIES[:2]
CSS = {INK: "currentColor", FAINT: "var(--faint)"} | {c: f"var(--series-{i})" for i, c in enumerate(SERIES, 1)}


def histogram(label: str, id_scores: ArrayLike, ood_scores: ArrayLike) -> Markup:
    """The scores of in-distribution and OOD images, and the threshold that accepts 95 % of the former."""
    inside, outside = np.asarray(id_scores, float), np.asarray(ood_scores, float)
    low, high = np.quantile(np.concatenate([inside, outside]), [0.002, 0.998])
    edges = np.histogram_bin_edges([low, high], bins=48)

    def draw(axes: Axes) -> None:
        for scores, colour in ((inside, ID), (outside, OOD)):
            # Shares, not counts, since the sets differ in size; the outermost bins hold the tails.
            share = np.histogram(scores.clip(low, high), edges)[0] / len(scores)
            axes.stairs(share, edges, fill=True, color=colour, alpha=0.3, linewidth=0)
            axes.stairs(share, edges, color=colour, linewidth=1.1)
        axes.axvline(np.quantile(inside, 0.95).clip(low, high), color=INK, linestyle=(0, (3, 2)), linewidth=0.9)
        axes.set(xlabel="score (larger = more OOD)", yticks=[])
        axes.spines["left"].set_visible(False)

    return _svg(label, draw)


def roc(label: str, curves: Mapping[str, tuple[ArrayLike, ArrayLike]], headline: str) -> Markup:
    """The ROC curves of all detectors, (ID scores, OOD scores) each, with the headline's in colour."""

    def draw(axes: Axes) -> None:
        for detector, scores in curves.items():
            if detector != headline:
                axes.plot(*_operating_points(*scores), color=FAINT, linewidth=0.7)
        axes.plot(*_operating_points(*curves[headline]), color=ID, linewidth=1.8)
        for line, at in ((axes.axhline, 0.95), (axes.axvline, 0.05)):
            line(at, color=INK, linestyle=(0, (3, 2)), linewidth=0.7)
        axes.set(xlim=(0, 1), ylim=(0, 1.005), xlabel="OOD images accepted", ylabel="ID images accepted")
        axes.set_xticks([0, 0.5, 1], ["0", "50 %", "100 %"])
        axes.set_yticks([0, 0.5, 1], ["0", "50 %", "100 %"])

    return _svg(label, draw, height=2.6)


def loss_curves(label: str, lines: Sequence[Mapping[str, Any]]) -> Markup:
    """Every scalar of the log whose name starts with "loss", against the epoch."""
    names = dict.fromkeys((m["kind"], key) for m in lines for key in m if key.startswith("loss"))
    many = len(names) > 2

    def draw(axes: Axes) -> None:
        for index, (kind, key) in enumerate(names):
            epochs, values = _smooth((m["epoch"], m[key]) for m in lines if m["kind"] == kind and key in m)
            style = "-" if index < len(SERIES) else "--"
            text = f"{kind}: {key.replace('_', ' ')}"
            axes.plot(epochs, values, style, color=SERIES[index % len(SERIES)], label=text)
        axes.set(xlabel="epoch", ylabel="loss")
        if many:
            _legend_above(axes)
        elif names:
            axes.legend()

    return _svg(label, draw, height=2.0 + 0.18 * len(names) if many else 2.0)


def accuracy_curve(label: str, lines: Sequence[Mapping[str, Any]]) -> Markup:
    """The validation accuracy, in per cent, against the epoch."""

    def draw(axes: Axes) -> None:
        points = [(m["epoch"], 100 * m["accuracy"]) for m in lines if m["kind"] == "val" and "accuracy" in m]
        axes.plot(*np.array(points).reshape(-1, 2).T, color=SERIES[2], marker="o", markersize=2.5)
        axes.set(xlabel="epoch", ylabel="validation accuracy, %")

    return _svg(label, draw)


def diagnostic(label: str, chart: Diagnostic) -> Markup:
    """The curves of a diagnostic against the epoch, and what guessing reaches."""

    def draw(axes: Axes) -> None:
        if chart.chance is not None:
            axes.axhline(chart.chance, color=INK, linestyle=(0, (3, 2)), linewidth=0.7)
        for (name, points), colour in zip(chart.curves.items(), SERIES):
            epochs, values = _smooth(points)
            axes.plot(epochs, values, color=colour, marker="o" if len(epochs) == 1 else "", markersize=2.5, label=name)
        # Limits hold what the curves need, with the usual margin, and the span.
        axes.update_datalim([(0, value) for value in chart.span])
        axes.autoscale_view()
        axes.set(xlabel="epoch", ylabel=chart.unit)
        if chart.step is not None:
            axes.yaxis.set_major_locator(MultipleLocator(chart.step))
        if len(chart.curves) > 1:
            _legend_above(axes)

    return _svg(label, draw, height=2.4)


def _legend_above(axes: Axes) -> None:
    """A legend that hides no curve."""
    axes.figure.legend(loc="outside upper left", borderaxespad=0.2, handlelength=1.4)


def _operating_points(
    id_scores: ArrayLike, ood_scores: ArrayLike, points: int = 80
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The shares of OOD and of ID images accepted, exact at thresholds spread over both sets."""
    inside, outside = np.sort(np.asarray(id_scores, float)), np.sort(np.asarray(ood_scores, float))
    levels = np.linspace(0, 1, points)
    thresholds = np.unique([np.quantile(s, levels, method="nearest") for s in (inside, outside)])
    shares = [np.searchsorted(s, thresholds, side="right") / len(s) for s in (outside, inside)]
    return np.insert(shares[0], 0, 0.0), np.insert(shares[1], 0, 0.0)


def _smooth(points: Iterable[tuple[float, float]], most: int = 200) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """At most `most` points: averages over neighbours, as a curve of every step is noise and megabytes."""
    series = np.array(list(points), float).reshape(-1, 2)
    chunks = np.array_split(series, min(most, len(series)))
    epochs, values = np.array([chunk.mean(0) for chunk in chunks]).T
    return epochs, values


def _svg(label: str, draw: Callable[[Axes], None], height: float = 2.0) -> Markup:
    """Draw one chart; `label` describes it to a screen reader and, unique on the page, salts its ids."""
    buffer = io.StringIO()
    with rc_context({**STYLE, "svg.hashsalt": label}):
        figure = Figure(figsize=(3.0, height), layout="constrained")
        draw(figure.add_subplot())
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return Markup(_inline(buffer.getvalue(), label))


def _inline(svg: str, label: str) -> str:
    """Matplotlib's file as an element of the page: small, scalable, in the page's font and colours."""
    view_box = re.search(r'viewBox="[^"]*"', svg)
    assert view_box is not None
    body = svg[svg.index("</metadata>") + len("</metadata>") : svg.rindex("</svg>")]
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, flags=re.DOTALL)
    body = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*"', "<g", body)  # names such as axes_1 recur in every chart; nothing refers to them
    body = re.sub(r'\bd="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), body)
    body = re.sub(r"\s+", " ", body).replace(f"'{FONT}'", "var(--font)")
    for sentinel, colour in CSS.items():
        body = body.replace(sentinel, colour)
    return f'<svg {view_box[0]} role="img" aria-label="{escape(label)}">{body}</svg>'
