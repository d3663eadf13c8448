"""``outskirts import``. Its name is a word of the language, so it is imported by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from ..data.sources import open as open_images
from ..errors import OutskirtsError
from ..models.published import LAYOUTS
from ..training.importing import import_checkpoint
from .console import options, say

__all__ = ["main"]


@dataclass(frozen=True)
class Import:
    """Turn a checkpoint that a published repository has saved into a run, to evaluate or to train further."""

    layout: tyro.conf.Positional[str]
    """Whose: ascood, cider, ncis, npos, npos-clip or openood."""
    file: tyro.conf.Positional[Path]
    """The checkpoint. Only tensors are read; nothing in it is run."""
    data: str = ""
    """What it was trained on, with the classes in the order of its labels; detectors are fitted to these images."""
    out: str = ""
    """The run's folder."""
    backbone: str = ""
    """The network, where the file does not tell: clip:DIR?frozen=N for npos-clip."""
    size: int = 0
    """Side of the network's input in pixels; 32 or 224 unless given."""
    resize: int = 0
    """What the shorter side of an image becomes before its centre is cut out; the size itself unless given."""


def main(arguments: Sequence[str]) -> None:
    """Write the run folder."""
    given = options(Import, "import", arguments)
    if not (given.data and given.out):
        raise OutskirtsError(
            f"Pass what the checkpoint was trained on, and a folder: outskirts import {'|'.join(LAYOUTS)} FILE "
            "--data SPEC --out RUN"
        )
    run = import_checkpoint(
        given.layout,
        given.file,
        open_images(given.data),
        Path(given.out),
        backbone=given.backbone,
        size=given.size,
        resize=given.resize,
        say=say,
    )
    say(f"Imported into {run.path}")
    say(f"Next: outskirts evaluate {run.path} --test SPEC --far NAME=SPEC")
