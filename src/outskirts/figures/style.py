"""How plots look: their inks, their font and their lines."""

from __future__ import annotations

from typing import Any

__all__ = ["DASHED", "FAINT", "FONT", "INK", "SERIES", "STYLE"]

# The light scheme of the report's page (report/templates/style.css), but for the ink, which a picture without a page
# around it has nearly black. Each occurs nowhere else in a drawing, so that a page can put its own in their places.
INK, FAINT = "#010203", "#a9aeb5"
SERIES = ("#0b6bb8", "#c4500c", "#0a8463", "#a3417b", "#8a6a00", "#4a5568")


#: The line style of a threshold or of chance.
DASHED = (0, (3, 2))


FONT = "DejaVu Sans"  # comes with matplotlib; only measured with, the page's font is drawn


STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": [FONT],
    "font.size": 9,
    "axes.labelsize": 9,
    "axes.titlesize": 9,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
}
