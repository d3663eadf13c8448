"""``outskirts export``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from ..guard.guard import Guard
from .console import Command, parse, say, show, telling

__all__ = ["COMMAND", "main"]


@dataclass(frozen=True, kw_only=True)
class Export(Command):
    """Write a guard to one file that other programs run: pixels in, verdicts out. The file appears only if it gives the
    verdicts of the guard."""

    examples: ClassVar[tuple[str, ...]] = (
        "outskirts export guards/photos --out photos.onnx --verify folder:photos/test",
        "outskirts export guards/photos --out small.onnx --int8 --calibrate folder:photos/calibration",
    )

    guard: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="GUARD")]
    """Folder of a guard, which outskirts guard writes."""
    out: Path
    """File to write. The name ends in .onnx, or in .pt2 with --torch."""
    verify: str | None = None
    """Images to compare the file with the guard on, as a spec. Default: noise of several sizes."""
    torch: bool = False
    """Write a file of torch.export in place of an ONNX file."""
    int8: bool = False
    """Let the network compute in whole numbers of 8 bits. The thresholds are calibrated anew."""
    calibrate: str | None = None
    """With --int8: in-distribution (ID) calibration images, as a spec, that neither trained the classifier nor chose
    anything."""
    any_version: bool = False
    """Read a guard that was saved with other versions of the packages that compute scores."""

    def __call__(self) -> None:
        with telling() as (saying, _):
            guard = Guard.load(self.guard, strict=not self.any_version, say=saying)
            made = guard.export(
                self.out,
                self.verify,
                format="torch" if self.torch else "onnx",
                int8=self.int8,
                calibration=self.calibrate,
                say=saying,
            )
        show(str(made))
        say(f"File: {self.out}")


COMMAND = Export


def main(arguments: Sequence[str]) -> None:
    """Write the file, and print how well it agrees with its guard."""
    parse(Export, "export", arguments)()
