"""Charts as inline SVG that take their ink from the page, so that they follow its light or dark scheme."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from ..figures import scores, selective, training
from ..figures.diagnostics import Diagnostic
from ..figures.style import FAINT, FONT, INK, SERIES, STYLE

__all__ = [
    "accuracy_curve",
    "diagnostic",
    "histogram",
    "judged",
    "loss_curves",
    "reliability",
    "risk_coverage",
    "roc",
]

CSS = {INK: "currentColor", FAINT: "var(--faint)"} | {c: f"var(--series-{i})" for i, c in enumerate(SERIES, 1)}


def histogram(label: str, id_scores: ArrayLike, ood_scores: ArrayLike) -> Markup:
    """The scores of in-distribution and OOD images, and the threshold that accepts 95 % of the former."""
    return _svg(label, lambda axes: scores.histogram(axes, id_scores, ood_scores))


def judged(label: str, id_scores: ArrayLike, ood_scores: ArrayLike, threshold: float | None) -> Markup:
    """The scores of in-distribution and OOD images, and the threshold of a guard, if there is one for all images."""
    return _svg(label, lambda axes: scores.judged(axes, id_scores, ood_scores, threshold))


def risk_coverage(label: str, curves: Mapping[str, tuple[ArrayLike, ArrayLike]], kept: float | None = None) -> Markup:
    """Risk against coverage, (coverage, risk) by name, with a line where a guard keeps its share of images."""

    def draw(axes: Axes) -> None:
        selective.risk_coverage(axes, curves, kept)
        _legend_above(axes)

    return _svg(label, draw, height=2.4)


def reliability(label: str, confidence: ArrayLike, accuracy: ArrayLike, counts: ArrayLike) -> Markup:
    """The accuracy of bins of images against their confidence."""
    return _svg(label, lambda axes: selective.reliability(axes, confidence, accuracy, counts), height=2.4)


def roc(label: str, curves: Mapping[str, scores.Scores], headline: str) -> Markup:
    """The ROC curves of all detectors, (ID scores, OOD scores) each, with the headline's in colour."""
    return _svg(label, lambda axes: scores.roc(axes, curves, {headline: headline}), height=2.6)


def loss_curves(label: str, lines: Sequence[Mapping[str, Any]]) -> Markup:
    """Every scalar of the log whose name starts with "loss", against the epoch."""
    count = len(training.loss_names(lines))
    many = count > 2

    def draw(axes: Axes) -> None:
        training.draw_losses(axes, lines)
        if many:
            _legend_above(axes)
        elif count:
            axes.legend()

    return _svg(label, draw, height=2.0 + 0.18 * count if many else 2.0)


def accuracy_curve(label: str, lines: Sequence[Mapping[str, Any]]) -> Markup:
    """The validation accuracy, in per cent, against the epoch."""
    return _svg(label, lambda axes: training.accuracy(axes, lines))


def diagnostic(label: str, chart: Diagnostic) -> Markup:
    """The curves of a diagnostic against the epoch, and what guessing reaches."""

    def draw(axes: Axes) -> None:
        training.diagnostic(axes, chart)
        if len(chart.curves) > 1:
            _legend_above(axes)

    return _svg(label, draw, height=2.4)


def _legend_above(axes: Axes) -> None:
    """A legend that hides no curve."""
    axes.figure.legend(loc="outside upper left", borderaxespad=0.2, handlelength=1.4)


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
    for sentinel, color in CSS.items():
        body = body.replace(sentinel, color)
    return f'<svg {view_box[0]} role="img" aria-label="{escape(label)}">{body}</svg>'
