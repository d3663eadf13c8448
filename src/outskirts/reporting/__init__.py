"""One self-contained HTML page about one or more runs."""

from __future__ import annotations

from .write import write_report

__all__ = ["write_report"]
