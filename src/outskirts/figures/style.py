"""How plots look: their inks, their font and their lines."""

from __future__ import annotations

from typing import Any

__all__ = ["FAINT", "FONT", "INK", "SERIES", "STYLE"]

# Matplotlib knows no CSS: it draws in colours that occur nowhere else, and these become the page's own.
INK, FAINT = "#010203", "#010204"


SERIES = tuple(f"#01020{digit}" for digit in "56789a")


FONT = "DejaVu Sans"  # comes with matplotlib; only measured with, the page's font is drawn


STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": [FONT],
    "font.size": 9,
    "axes.labelsize": 9,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
}
