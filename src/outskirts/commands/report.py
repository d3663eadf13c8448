"""``outskirts report``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from ..reporting import write_report
from ..training.run import Run
from .console import options, say

__all__ = ["main"]


@dataclass(frozen=True)
class Report:
    """Write one self-contained HTML page from evaluated runs; the first is the baseline of the comparison."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders."""
    out: Path = Path("report.html")
    """The page."""


def main(arguments: Sequence[str]) -> None:
    """Write the page."""
    given = options(Report, "report", arguments)
    say(f"Report: {write_report([Run.open(path).path for path in given.runs], given.out)}")
