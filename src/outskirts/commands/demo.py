"""``outskirts demo``: the whole line on images that come with the packages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ..benchmarking.demo import demo
from .console import Command, parse, show, telling_with_training

__all__ = ["COMMAND", "main"]


@dataclass(frozen=True)
class Demo(Command):
    """Train CE and ASCOOD on handwritten digits 0-5, and test both on digits 6-9, textures, photographs and faces.

    Nothing is downloaded. It takes some minutes on two processor cores.
    """

    examples: ClassVar[tuple[str, ...]] = ("outskirts demo", "outskirts demo --quick --out runs/quick")

    out: Path = Path("runs/demo")
    """Folder of the two runs, report.html, the guard and verdicts.html; it must be new or empty."""
    quick: bool = False
    """Run for about two minutes only, to see that everything works; the numbers then mean nothing."""
    seed: int = 0
    """Seed of all random numbers."""

    def __call__(self) -> None:
        with telling_with_training("training") as (saying, progress, learning):
            demo(
                self.out,
                quick=self.quick,
                seed=self.seed,
                measured=lambda results: show(results.table(notes=False)),
                say=saying,
                progress=progress,
                learning=learning,
            )


COMMAND = Demo


def main(arguments: Sequence[str]) -> None:
    """Train, evaluate, report."""
    parse(Demo, "demo", arguments)()
