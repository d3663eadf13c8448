"""Figures of results: which sets and detectors to draw, and what the legend says of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor

from ..errors import OutskirtsError, unknown
from .display import plain
from .intervals import auroc_interval
from .metrics import auroc
from .rows import MEAN, Result
from .set_groups import is_ood

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Pair", "matching", "roc_figure", "scores_figure", "sets_shown"]

#: Scores of the images that count as ID, [N], and of a set, [M].
Pair = tuple[Tensor, Tensor]

#: By group and set, the scores of each detector by its label.
Curves = Mapping[tuple[str, str], Mapping[str, Pair]]

#: Curves in colour, beyond which they cannot be told apart, and letters of a label.
_COLORED, _LABEL = 6, 28


def sets_shown(rows: Sequence[Result], group: str | None) -> list[tuple[str, str]]:
    """Group and name of each set to draw: those of one group, or of every group of OOD sets."""
    groups = list(dict.fromkeys(row.group for row in rows))
    if group is not None and group not in groups:
        raise unknown("group", group, groups)
    wanted = [group] if group is not None else [name for name in groups if is_ood(name)]
    return list(dict.fromkeys((row.group, row.dataset) for row in rows if row.group in wanted and row.dataset != MEAN))


def matching(wanted: str | Sequence[str], known: Sequence[str], prefixes: Sequence[str]) -> list[str]:
    """The labels that are asked for: exactly, without the run before it, or by the detector's name alone.

    >>> matching("knn", ["msp", "knn(k=1)", "knn(k=5)"], ())
    ['knn(k=1)', 'knn(k=5)']

    Raises:
        OutskirtsError: If one matches none.
    """
    labels: list[str] = []
    for name in [wanted] if isinstance(wanted, str) else wanted:
        exact = [label for label in known if label == name]
        bare = {label: plain(label, prefixes) for label in known}
        loose = [label for label, text in bare.items() if text == name]
        named = [label for label, text in bare.items() if text.partition("(")[0] == name]
        if not (chosen := exact or loose or named):
            raise unknown("detector with scores", name, known)
        labels += chosen
    return list(dict.fromkeys(labels))


def roc_figure(curves: Curves, first: str) -> Figure:
    """A panel for each set with the ROC curve of each detector; `first` is in colour if there are too many."""
    from ..figures.panels import panels
    from ..figures.scores import roc

    def draw(axes: Axes, by_detector: Mapping[str, Pair]) -> None:
        few = len(by_detector) <= _COLORED
        shown = by_detector if few else {label: by_detector[label] for label in by_detector if label == first}
        roc(axes, by_detector, {label: _with_area(label, *pair) for label, pair in shown.items()})
        axes.set(xlabel="OOD images accepted (false positive rate)", ylabel="ID images accepted (true positive rate)")
        more = len(by_detector) - len(shown)
        title = "AUROC [95 % interval], %" + (f"; grey: {more} others" if more else "")
        axes.legend(loc="lower right", fontsize=7, title=title, title_fontsize=7, alignment="left", handlelength=1.2)

    return panels(_drawings(curves, draw), "ROC curves with ID as the positive class", size=(3.7, 3.4))


def scores_figure(curves: Curves) -> Figure:
    """A panel for each set and detector with the histogram of its scores."""
    from ..figures.panels import panels
    from ..figures.scores import histogram

    def draw(axes: Axes, pair: Pair) -> None:
        histogram(axes, *pair)
        axes.set(ylabel="share of images")

    detectors = dict.fromkeys(label for by_detector in curves.values() for label in by_detector)
    if len(detectors) == 1:
        title, single = f"Scores of {next(iter(detectors))}", {k: next(iter(v.values())) for k, v in curves.items()}
        return panels(_drawings(single, draw), title, size=(3.4, 2.2), legend=True)
    drawings = {
        f"{_short(label)}: {dataset} ({group})": partial(draw, pair=pair)
        for (group, dataset), by_detector in curves.items()
        for label, pair in by_detector.items()
    }
    return panels(drawings, "Scores", size=(3.4, 2.2), legend=True)


def _drawings(
    content: Mapping[tuple[str, str], object], draw: Callable[..., None]
) -> dict[str, Callable[[Axes], None]]:
    """What `draw` does with what there is of each set, by the panel's title."""

    def drawing(what: object) -> Callable[[Axes], None]:
        return lambda axes: draw(axes, what)

    if not content:
        raise OutskirtsError("There is nothing to draw: the detectors keep no scores of these sets.")
    return {f"{dataset} ({group})": drawing(what) for (group, dataset), what in content.items()}


def _with_area(label: str, known: Tensor, other: Tensor) -> str:
    low, high = auroc_interval(known, other)
    area, low, high = (100 * value for value in (auroc(known, other), low, high))
    return f"{_short(label)}  {area:.1f} [{low:.1f}, {high:.1f}]"


def _short(label: str) -> str:
    return label if len(label) <= _LABEL else f"{label[: _LABEL - 1]}…"
