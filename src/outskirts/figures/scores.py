"""Scores of ID and of OOD images on axes: their histogram, and the ROC curve."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from .style import DASHED, FAINT, INK, SERIES

__all__ = ["Scores", "calibrated", "histogram", "judged", "roc"]

#: Scores of ID and of OOD images; larger means more OOD.
Scores = tuple[ArrayLike, ArrayLike]

ID, OOD = SERIES[:2]


def histogram(axes: Axes, id_scores: ArrayLike, ood_scores: ArrayLike) -> None:
    """Draw the shares of ID and of OOD images by score, and the threshold that accepts 95 % of the former.

    Arguments:
        axes: Where to draw. The shapes are labelled for a legend.
        id_scores: [N].
        ood_scores: [M].
    """
    low, high = _shares(axes, id_scores, ood_scores)
    inside = np.asarray(id_scores, float)
    threshold = np.quantile(inside, 0.95, method="linear" if np.isfinite(inside).all() else "lower")
    axes.axvline(threshold.clip(low, high), color=INK, linestyle=DASHED, linewidth=0.9, label="95 % of ID accepted")


def judged(axes: Axes, id_scores: ArrayLike, ood_scores: ArrayLike, threshold: float | None) -> None:
    """Draw the shares of ID and of OOD images by score, and a threshold that was chosen before.

    Arguments:
        axes: Where to draw. The shapes are labelled for a legend.
        id_scores: [N].
        ood_scores: [M].
        threshold: The largest score that is accepted, if there is one for all images.
    """
    low, high = _shares(axes, id_scores, ood_scores)
    if threshold is not None:
        axes.axvline(np.clip(threshold, low, high), color=INK, linestyle=DASHED, linewidth=0.9, label="threshold")


def _shares(axes: Axes, id_scores: ArrayLike, ood_scores: ArrayLike) -> tuple[float, float]:
    """Draw both histograms; returns where the axis begins and ends."""
    inside, outside = np.asarray(id_scores, float), np.asarray(ood_scores, float)
    both = np.concatenate([inside, outside])
    # An infinite score has no place on an axis; it is drawn in the outermost bin.
    low, high = np.quantile(both[np.isfinite(both)], [0.002, 0.998]) if np.isfinite(both).any() else (0.0, 1.0)
    edges = _edges(low, high, 48)
    for scores, color, name in ((inside, ID, "ID images"), (outside, OOD, "OOD images")):
        # Shares, not counts, since the sets differ in size; the outermost bins hold the tails.
        share = np.histogram(scores.clip(low, high), edges)[0] / len(scores)
        axes.stairs(share, edges, fill=True, color=color, alpha=0.3, linewidth=0)
        axes.stairs(share, edges, color=color, linewidth=1.1, label=name)
    axes.set(xlabel="score (larger = more OOD)", yticks=[])
    axes.spines["left"].set_visible(False)
    return float(low), float(high)


def _edges(low: float, high: float, bins: int) -> NDArray[np.float64]:
    """Where the bins of a histogram begin and end."""
    edges = np.linspace(low, high, bins + 1)
    if (np.diff(edges) > 0).all():
        return edges
    # Scores that differ by rounding alone have too few numbers between them.
    return low + max(1.0, abs(low)) * np.linspace(-0.5, 0.5, bins + 1)


def calibrated(axes: Axes, scores: ArrayLike, threshold: float | None) -> None:
    """Draw the share of calibration images by score, and the threshold.

    Arguments:
        axes: Where to draw. The shapes are labelled for a legend.
        scores: [N].
        threshold: The largest score that is accepted, if there is one.
    """
    inside = np.asarray(scores, float)
    finite = inside[np.isfinite(inside)]
    low, high = (finite.min(), finite.max()) if len(finite) else (0.0, 1.0)
    edges = _edges(low, high, 40)
    share = np.histogram(inside.clip(low, high), edges)[0] / max(1, len(inside))
    axes.stairs(share, edges, fill=True, color=ID, alpha=0.3, linewidth=0)
    axes.stairs(share, edges, color=ID, linewidth=1.1, label="calibration images")
    if threshold is not None:
        axes.axvline(np.clip(threshold, low, high), color=INK, linestyle=DASHED, linewidth=0.9, label="threshold")
    axes.set(xlabel="score (larger = more OOD)", yticks=[])
    axes.spines["left"].set_visible(False)


def roc(axes: Axes, curves: Mapping[str, Scores], colored: Mapping[str, str]) -> None:
    """Draw ROC curves with ID as the positive class, and where 95 % of ID or 5 % of OOD images are accepted.

    Arguments:
        axes: Where to draw.
        curves: ID and OOD scores by the detector's label.
        colored: The detectors to draw in colour, and what a legend calls them. The others are faint.
    """
    for detector, scores in curves.items():
        if detector not in colored:
            axes.plot(*_operating_points(*scores), color=FAINT, linewidth=0.7)
    width = 1.8 if len(colored) == 1 else 1.4
    for (detector, name), color in zip(colored.items(), SERIES):
        axes.plot(*_operating_points(*curves[detector]), color=color, linewidth=width, label=name)
    for line, at in ((axes.axhline, 0.95), (axes.axvline, 0.05)):
        line(at, color=INK, linestyle=DASHED, linewidth=0.7)
    axes.set(xlim=(0, 1), ylim=(0, 1.005), xlabel="OOD images accepted", ylabel="ID images accepted")
    axes.set_xticks([0, 0.5, 1], ["0", "50 %", "100 %"])
    axes.set_yticks([0, 0.5, 1], ["0", "50 %", "100 %"])


def _operating_points(
    id_scores: ArrayLike, ood_scores: ArrayLike, points: int = 80
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The shares of OOD and of ID images accepted, exact at thresholds spread over both sets."""
    inside, outside = np.sort(np.asarray(id_scores, float)), np.sort(np.asarray(ood_scores, float))
    levels = np.linspace(0, 1, points)
    thresholds = np.unique([np.quantile(s, levels, method="nearest") for s in (inside, outside)])
    shares = [np.searchsorted(s, thresholds, side="right") / len(s) for s in (outside, inside)]
    return np.insert(shares[0], 0, 0.0), np.insert(shares[1], 0, 0.0)
