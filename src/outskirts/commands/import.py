"""``outskirts import``. Its name is a word of the language, so it is imported by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from ..training.evaluating import evaluating
from ..training.importing import import_checkpoint
from .console import Command, parse, say

__all__ = ["COMMAND", "main"]


@dataclass(frozen=True, kw_only=True)
class Import(Command):
    """Turn a checkpoint that a published repository saved into a run, to evaluate it or to train it further."""

    examples: ClassVar[tuple[str, ...]] = (
        "outskirts import openood resnet18.ckpt --data folder:photos/train --out runs/imported",
    )

    layout: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="LAYOUT")]
    """Repository that saved it: ascood, cider, ncis, npos, npos-clip or openood."""
    file: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FILE")]
    """The checkpoint file. Only tensors are read; no code in it is run."""
    data: str
    """Training images of the checkpoint, as a spec, with classes in the order of its labels. Detectors are fitted on
    them."""
    out: Path
    """Folder of the new run."""
    backbone: str | None = None
    """The network, where the file does not tell it: clip:DIR?frozen=N for npos-clip."""
    size: int | None = None
    """Side of the network's input in pixels. Default: 32 or 224, as the network or NCIS's images need."""
    resize: int | None = None
    """Shorter side of an image in pixels before its centre is cut out. Default: the size itself."""
    mean: tuple[float, float, float] | None = None
    """Mean of the pixels of each channel, between 0 and 1. Default: as published."""
    std: tuple[float, float, float] | None = None
    """Standard deviation of the pixels of each channel, between 0 and 1. Default: as published."""

    def __call__(self) -> None:
        run = import_checkpoint(
            self.layout,
            self.file,
            self.data,
            self.out,
            backbone=self.backbone,
            size=self.size,
            resize=self.resize,
            mean=self.mean,
            std=self.std,
            say=say,
        )
        say(f"Imported into {run.path}")
        say(f"Next: {evaluating(run)}")


COMMAND = Import


def main(arguments: Sequence[str]) -> None:
    """Write the run folder."""
    parse(Import, "import", arguments)()
