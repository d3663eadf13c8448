"""One self-contained HTML page about one or more runs."""

from __future__ import annotations

from .write import report

__all__ = ["report"]
