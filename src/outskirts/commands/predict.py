"""``outskirts predict``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import tyro
from rich.table import Table

from ..bounds import Between, Count
from ..data.imageset import ImageSet
from ..data.sources import open_split
from ..devices import resolve_device
from ..errors import OutskirtsError
from ..extraction.forward import PassOptions
from ..guard.cluster import predict_with_ray
from ..guard.gallery import save_gallery
from ..guard.guard import Guard
from ..guard.judging import require_top
from ..guard.lowest import Lowest
from ..guard.opening import opened
from ..guard.page import require_page
from ..guard.predicting import Summary, predict_to, row_blocks
from ..guard.records import SUFFIXES, Record, columns, require_suffix, writer_of_text
from ..paths import output_path
from .console import Command, Telling, parse, say, show, telling

__all__ = ["COMMAND", "main"]

#: Verdicts that a terminal shows.
_SHOWN = 40


@dataclass(frozen=True, kw_only=True)
class Predict(Command):
    """Say of each picture what it shows, and whether it is like the pictures that the classifier knows."""

    examples: ClassVar[tuple[str, ...]] = (
        "outskirts predict guards/photos new.png",
        "outskirts predict guards/photos folder:photos/test --out verdicts.csv",
        "outskirts predict guards/photos folder:photos/test --html verdicts.html --train folder:photos/train",
        "outskirts predict guards/photos photos/*/*/*.png --top 2 --fdr 0.1 --out verdicts.jsonl",
        "outskirts predict guards/photos folder:photos/test --engine ray --workers 2 --out verdicts",
    )

    guard: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="GUARD")]
    """Folder of the guard."""
    pictures: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="PICTURE [PICTURE ...]")]
    """Pictures, folders, patterns such as photos/*.jpg, or one spec such as zip:photos.zip; a - alone reads the paths
    of pictures, one in each line, from the standard input."""
    out: Annotated[str | None, tyro.conf.arg(metavar="FILE|FOLDER|URL")] = None
    """File to write, which must be new: .csv, .jsonl or .parquet; with --engine ray, a new folder, or a URL such as
    s3://bucket/verdicts. A call that was stopped goes on where it was. Default: a table on the terminal, or CSV where
    the output goes elsewhere."""
    top: Count = 1
    """How many of the most probable classes are given, at least 1."""
    fdr: Between | None = None
    """With --out: false discovery rate, between 0 and 1, at which pictures are declared out-of-distribution, in a
    column of its own. The share of false ones among them is at most this, on average."""
    html: Path | None = None
    """Page to write, a new file .html, with the pictures of the lowest p-values and their verdicts."""
    html_images: Count = 200
    """With --html: how many pictures are shown, at least 1."""
    train: str | None = None
    """With --html: training images, as a spec. The three nearest, in the features of the network, are shown beside each
    picture."""
    device: str = "auto"
    """Device of the network: auto, cpu, cuda or mps."""
    any_version: bool = False
    """Load a guard that was saved with other versions of torch and the like, if its network gives the same features."""
    engine: Literal["here", "ray"] = "here"
    """Where pictures are looked at: here, in this process; or ray, by the workers of a Ray cluster: that of
    RAY_ADDRESS, or one that is started on this machine. All machines must see the guard, the pictures and --out by the
    same paths. The verdicts are Parquet files in a folder."""
    workers: Count | None = None
    """With --engine ray: number of workers, at least 1. Default: one for each GPU, or for each core where there is no
    GPU."""

    def __call__(self) -> None:
        if self.engine == "ray":
            self._by_ray()
        else:
            self._here(None if self.out is None else self._file(self.out))

    def _by_ray(self) -> None:
        """Let the workers of a cluster write the verdicts."""
        if self.out is None or Path(self.out).suffix in SUFFIXES:
            raise OutskirtsError("--engine ray writes Parquet files to a folder; name a new one (--out FOLDER).")
        if self.fdr is not None:
            raise OutskirtsError("A false discovery rate is of one file of verdicts; leave out --fdr, or --engine ray.")
        if self.html is not None or self.train is not None:
            raise OutskirtsError("--engine ray makes no page; leave out --html and --train, or --engine ray.")
        if "-" in self.pictures:
            raise OutskirtsError(
                "The workers of --engine ray do not see this standard input; name a folder, a pattern or a spec."
            )
        self._require_pictures()
        more: dict[str, Any] = {"top": self.top, "device": self.device, "workers": self.workers}
        with telling() as told:
            summary = predict_with_ray(
                self.guard, self.pictures, self.out, strict=not self.any_version, **more, **told._asdict()
            )
        _say_end(summary, self.out)

    def _file(self, out: str) -> Path:
        """The file to write."""
        if "://" in out:
            raise OutskirtsError(
                f"{out} is a URL, which --engine ray alone writes to; name a file, or add --engine ray."
            )
        return require_suffix(output_path(out))

    def _here(self, out: Path | None) -> None:
        """Look at the pictures in this process."""
        if self.workers is not None:
            raise OutskirtsError("Workers are those of a cluster; add --engine ray, or leave out --workers.")
        if out is None and self.fdr is not None:
            raise OutskirtsError("A false discovery rate is of a whole batch; write it to a file (--out FILE.csv).")
        if self.html is not None:
            require_page(self.html)
        elif self.train is not None:
            raise OutskirtsError("Training images are shown on a page; name it (--html FILE.html).")
        train = None if self.train is None else open_split(self.train, "train")
        images, lowest = self._images(), Lowest(self.html_images)
        guard = Guard.load(self.guard, strict=not self.any_version, say=say)
        require_top(guard, self.top)
        with telling() as told:
            summary = self._looked_at(guard, images, lowest, told, out)
        _say_end(summary, out)
        if self.html is not None:
            options = PassOptions(guard.precision, device=resolve_device(self.device), skip_corrupt=True)
            name = self.guard.resolve().name
            with telling() as (_, progress):
                save_gallery(guard, images, lowest, self.html, options, train=train, name=name, progress=progress)
            say(f"Page: {self.html}")

    def _looked_at(self, guard: Guard, images: ImageSet, lowest: Lowest, told: Telling, out: Path | None) -> Summary:
        """Write or print the verdicts."""
        options: dict[str, Any] = {"top": self.top, "device": self.device}
        if out is not None:
            more: dict[str, Any] = {"told": lowest.take, "say": told.say, "progress": told.progress}
            return predict_to(guard, images, out, fdr=self.fdr, **options, **more)
        printed = _Table(images) if sys.stdout.isatty() else writer_of_text(sys.stdout, columns(self.top))
        summary = Summary()
        for first, rows in row_blocks(guard, images, **options):
            for place, row in enumerate(rows, first):
                lowest.take(place, row)
            printed(rows)
            summary = summary.with_rows(rows)
            told.progress("verdicts", first + len(rows), len(images))
        if isinstance(printed, _Table):
            show(printed.table())
        return summary

    def _images(self) -> ImageSet:
        if self.pictures == ("-",):
            names = [os.fsdecode(name) for line in _input().split(b"\n") if (name := line.rstrip(b"\r")).strip()]
            if not names:
                raise OutskirtsError("The standard input names no picture; give the path of one in each line.")
            return opened(names)
        self._require_pictures()
        return opened(self.pictures)

    def _require_pictures(self) -> None:
        if not self.pictures:
            raise OutskirtsError("Name a picture, a folder or a pattern after the guard.")


def _say_end(summary: Summary, out: Path | str | None) -> None:
    """Say how many pictures there were, and raise if none could be read."""
    say(f"{summary}." if out is None else f"{out}: {summary}.")
    if not summary.images:
        raise OutskirtsError("No picture could be read; the reasons are above.")


def _input() -> bytes:
    """The standard input to its end, in bytes, since names of files are in any encoding."""
    try:
        if sys.stdin is not None:  # It is None where it was closed.
            return sys.stdin.buffer.read()
        reason = "it is closed"
    except OSError as error:
        reason = f"{error}"
    raise OutskirtsError(f"The standard input cannot be read: {reason}.")


class _Table:
    """The first verdicts for a terminal."""

    def __init__(self, images: ImageSet) -> None:
        self.images, self.rows = len(images), list[Record]()

    def __call__(self, rows: Sequence[Record]) -> None:
        self.rows += rows[: _SHOWN - len(self.rows)]

    def table(self) -> Table:
        table = Table("picture", "class", "confidence", "p-value", "verdict", box=None)
        for row in self.rows:
            table.add_row(*_cells(row))
        if self.images > len(self.rows):
            table.caption = f"{self.images - len(self.rows):,} more are not shown; --out FILE.csv writes all."
        return table


def _cells(row: Record) -> tuple[str, ...]:
    if "p_value" not in row:
        return row["file"], "", "", "", row["error"]
    confidence = "" if row["confidence"] is None else f"{row['confidence']:.1%}"
    said = "accepted" if row["accepted"] else "rejected"
    return row["file"], row["label"] or "", confidence, f"{row['p_value']:.3g}", said


COMMAND = Predict


def main(arguments: Sequence[str]) -> None:
    """Load the guard, look at the pictures, and print or write the verdicts."""
    parse(Predict, "predict", arguments)()
