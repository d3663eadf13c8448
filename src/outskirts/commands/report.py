"""``outskirts report``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from ..reporting import report
from ..training.run import Run
from .console import Command, parse, say

__all__ = ["COMMAND", "main"]


@dataclass(frozen=True)
class Report(Command):
    """Write one HTML page about evaluated runs. The others are compared with the first."""

    examples: ClassVar[tuple[str, ...]] = ("outskirts report runs/photos --out report.html",)

    baseline: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Folder of an evaluated run: the baseline."""
    others: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="[RUN ...]")] = ()
    """Folders of other evaluated runs."""
    out: Path = Path("report.html")
    """The HTML file to write, or a folder for it."""

    full_environment: bool = False
    """Keep absolute paths and the names of the user and of the machine on the page. They are left out otherwise."""

    def __call__(self) -> None:
        runs = [Run.open(path) for path in (self.baseline, *self.others)]
        say(f"Report: {report(runs, self.out, full_environment=self.full_environment)}")


COMMAND = Report


def main(arguments: Sequence[str]) -> None:
    """Write the page."""
    parse(Report, "report", arguments)()
