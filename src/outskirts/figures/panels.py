"""Drawings beside each other as one matplotlib figure, which needs no pyplot and leaves its state alone."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .style import STYLE

__all__ = ["Picture", "panels"]


class Picture(Figure):
    """A figure that a notebook shows as it is, whether or not pyplot has been imported there."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=2 * self.dpi)
        return buffer.getvalue()


def panels(
    drawings: Mapping[str, Callable[[Axes], None]],
    title: str = "",
    *,
    columns: int = 3,
    size: tuple[float, float] = (3.5, 3.0),
    legend: bool = False,
) -> Picture:
    """A figure with a panel for each drawing, from left to right and from top to bottom.

    Arguments:
        drawings: What draws on the axes of each panel, by the panel's title.
        title: Stands above all.
        columns: Panels beside each other, at most.
        size: Width and height of a panel, in inches.
        legend: Whether one legend below, of what the first panel names, is for all panels.
    """
    across = min(columns, len(drawings))
    down = math.ceil(len(drawings) / across)
    with rc_context(STYLE):
        figure = Picture(figsize=(across * size[0], down * size[1] + 0.3 * bool(title)), dpi=100, layout="constrained")
        for place, (name, draw) in enumerate(drawings.items(), start=1):
            axes = figure.add_subplot(down, across, place)
            draw(axes)
            axes.set_title(_literal(name), loc="left")
        if title:
            figure.suptitle(_literal(title), x=0.01, ha="left", fontsize=10)
        if legend:
            handles, names = figure.axes[0].get_legend_handles_labels()
            figure.legend(handles, names, loc="outside lower left", ncols=len(names), fontsize=8, handlelength=1.4)
        # What is made no sooner than it is drawn, such as ticks, gets the style, too.
        figure.draw_without_rendering()
    return figure


def _literal(text: str) -> str:
    """The same without a formula, which matplotlib would read between two dollar signs."""
    return text.replace("$", r"\$")
