"""Verdicts on many images, written as they come; a call that was stopped goes on where it was."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import torch

from ..arguments import check_arguments
from ..bounds import Count
from ..data.imageset import ImageSet
from ..errors import OutskirtsError
from ..files import atomic, digest, make_folder, reading, writing
from ..locking import only_writer
from ..paths import output_path
from ..telling import Progress, Say, nobody, silence
from ..temporary import require_new
from .fdr import discoveries, shortage
from .guard import Guard
from .judging import require_top
from .records import Record, columns, record_of, require_suffix, unread_record, writer

__all__ = ["Summary", "header_of", "predict_to", "row_blocks", "rows_of"]

#: Images after which verdicts are on the disk. A call that goes on begins after a whole number of them, so that all
#: images are in the same batches, on which the last bits of a score can depend.
_CHUNK = 1000

#: Called with the position of an image and its row.
Told = Callable[[int, Record], None]


@dataclass(frozen=True)
class Summary:
    """How many images there were.

    Arguments:
        images: Images that were looked at.
        rejected: Those that were rejected.
        unread: Images that could not be read, besides.
        declared: Images that are declared out-of-distribution at a false discovery rate; None unless asked for.
    """

    images: int = 0
    rejected: int = 0
    unread: int = 0
    declared: int | None = None

    def with_rows(self, rows: Sequence[Record]) -> Summary:
        """The same with more images."""
        read = [row for row in rows if "p_value" in row]
        return replace(
            self,
            images=self.images + len(read),
            rejected=self.rejected + sum(not row["accepted"] for row in read),
            unread=self.unread + len(rows) - len(read),
        )

    def __str__(self) -> str:
        unread = f", {self.unread:,} could not be read" if self.unread else ""
        declared = "" if self.declared is None else f"; {self.declared:,} declared out-of-distribution"
        return f"{self.images - self.rejected:,} accepted, {self.rejected:,} rejected{unread}{declared}"


@check_arguments
def predict_to(
    guard: Guard,
    images: ImageSet,
    out: Path | str,
    *,
    top: Count = 1,
    fdr: float | None = None,
    device: str = "auto",
    told: Told | None = None,
    say: Say = silence,
    progress: Progress = nobody,
) -> Summary:
    """Write what a guard says of images to a file, in their order.

    Until it is whole, verdicts are in a file beside it whose name ends in ``.part``, from which the same call goes on
    after it was stopped. Images that cannot be read have a row with the reason.

    Arguments:
        guard: The guard.
        images: The images.
        out: A new file whose name ends in ``.csv``, ``.jsonl`` or ``.parquet``.
        top: How many of the most probable classes are given, at least 1.
        fdr: False discovery rate, above 0 and below 1, at which images are declared out-of-distribution, in a column of
            its own.
        device: Device of the network.
        told: Called with the position of each image and its row, in order, when all are there.
        say: Told when it goes on, and of images that cannot be read.
        progress: Told of the images that are done.

    Raises:
        OutskirtsError: If the file is there, another process writes beside it, or what was begun is of other images,
            options or another guard; if there are not so many classes.
    """
    out = require_suffix(output_path(out))
    require_new(out)
    require_top(guard, top)
    if fdr is not None and (short := shortage(max(kept.n for kept in guard.calibration.promises), len(images), fdr)):
        say(short)
    make_folder(out.parent)
    part = _Part(out, header_of(guard, images, top))
    with part.opened(say) as (done, add):
        for first, rows in row_blocks(guard, images, top, device, done):
            add(rows)
            for row in rows:
                if "score" not in row:
                    say(f"Could not be read: {row['error']}")
            progress("verdicts", first + len(rows), len(images))
        with atomic(out) as temporary:
            summary = _written(part, temporary, out.suffix, top, fdr, told)
        part.file.unlink()
    return summary


@check_arguments
def row_blocks(
    guard: Guard, images: ImageSet, top: Count, device: str, begin: int = 0
) -> Iterator[tuple[int, list[Record]]]:
    """The rows of images in order, some at a time, with the position of the first; images that cannot be read say why.

    Arguments:
        guard: The guard.
        images: The images.
        top: How many of the most probable classes are given.
        device: Device of the network.
        begin: Position of the image to begin with.
    """
    for first in range(begin, len(images), _CHUNK):
        yield first, rows_of(guard, images.subset(torch.arange(first, min(first + _CHUNK, len(images)))), top, device)


def rows_of(guard: Guard, chunk: ImageSet, top: int, device: str) -> list[Record]:
    """The rows of as many images as memory has room for; arguments are those of `row_blocks`."""
    by_name: dict[str, list[Record]] = {}
    for verdicts in guard.stream(chunk, top=top, device=device):
        for verdict in verdicts:
            by_name.setdefault(verdict.file, []).append(record_of(verdict))
    for name, why in guard.unread(chunk):
        by_name.setdefault(name, []).append(unread_record(name, why))
    return [by_name[chunk.name(place)].pop(0) for place in range(len(chunk))]


def header_of(guard: Guard, images: ImageSet, top: int) -> dict[str, Any]:
    """What a file of verdicts is of; with a change of any of it, a call does not go on.

    Arguments:
        guard: The guard.
        images: The images.
        top: How many of the most probable classes are given.
    """
    content = digest(*(_identity(images, place) for place in range(len(images))))
    return {"guard": guard.fingerprint, "images": len(images), "content": content, "top": top, "chunk": _CHUNK}


def _identity(images: ImageSet, place: int) -> bytes:
    """What tells an image from others of its name without reading it; of one that is in no file, its content."""
    item = images.items[int(images.index[place])]
    if not isinstance(item, Path):
        return os.fsencode(f"{images.name(place)} {images.keys[place]}")
    try:
        known = item.stat()
    except OSError:  # It is told when it is its turn.
        return os.fsencode(images.name(place))
    return os.fsencode(f"{images.name(place)} {known.st_size} {known.st_mtime_ns}")


class _Part:
    """The file of verdicts on the way: a line for each image, below one that says what they are of.

    Arguments:
        out: The file that it becomes.
        header: What they are of.
    """

    def __init__(self, out: Path, header: dict[str, Any]) -> None:
        self.out, self.file, self.header = out, out.with_name(f"{out.name}.part"), header

    @contextmanager
    def opened(self, say: Say) -> Iterator[tuple[int, Callable[[Sequence[Record]], None]]]:
        """How many images are done, and what adds rows; nobody else writes to the file meanwhile."""
        lock = self.file.with_name(f".{self.file.name}.lock")
        with only_writer(lock), writing(self.file):
            require_new(self.out)  # Another call may have written it until now.
            done = self._done(say)
            with self.file.open("a", encoding="utf-8") as text:
                if not text.tell():
                    text.write(json.dumps(self.header) + "\n")

                def add(rows: Sequence[Record]) -> None:
                    _append(text, rows)

                yield done, add
        with suppress(OSError):
            lock.rmdir()  # A killed call has left it.

    def _done(self, say: Say) -> int:
        """How many images are done; what follows the last whole chunk is cut off."""
        if not self.file.exists():
            return 0
        with reading(self.file), self.file.open("r+b") as text:
            if not (first := text.readline()).endswith(b"\n"):
                text.truncate(0)
                return 0
            if self._record(first) != self.header:
                raise OutskirtsError(
                    f"{self.file} was begun with another guard, other images or other options. Remove it to begin anew."
                )
            places = [text.tell()]
            while (line := text.readline()).endswith(b"\n"):
                places.append(text.tell())
            done = len(places) - 1
            done -= 0 if done == self.header["images"] else done % _CHUNK
            text.seek(places[done])
            text.truncate()
            if line or done:
                say(f"Going on after {done:,} of {self.header['images']:,} images.")
            return done

    def rows(self) -> Iterator[Record]:
        """All rows."""
        with self.file.open("rb") as text:
            next(text)
            yield from map(self._record, text)

    def _record(self, line: bytes) -> Record:
        with suppress(ValueError, RecursionError):
            if isinstance(record := json.loads(line), dict) and {"file", "guard"} & record.keys():
                return record
        raise OutskirtsError(f"{self.file} is damaged. Remove it to begin anew.")


def _append(text: TextIO, rows: Sequence[Record]) -> None:
    text.write("".join(json.dumps(row) + "\n" for row in rows))
    text.flush()


def _written(part: _Part, file: Path, suffix: str, top: int, fdr: float | None, told: Told | None) -> Summary:
    """Write all rows in the form that was asked for, and count them."""
    declared: Iterator[bool] | None = None
    count = None
    if fdr is not None:
        values = [row["p_value"] for row in part.rows() if "p_value" in row]
        found = discoveries(torch.tensor(values, dtype=torch.float64), fdr)
        declared, count = iter(found.tolist()), int(found.sum())
    summary = Summary(declared=count)
    with writer(suffix, file, columns(top, fdr is not None)) as write:
        rows = part.rows()
        while block := list(islice(rows, _CHUNK)):
            for place, row in enumerate(block, summary.images + summary.unread):
                if declared is not None and "p_value" in row:
                    row["declared_ood"] = next(declared)
                if told is not None:
                    told(place, row)
            write(block)
            summary = summary.with_rows(block)
    return summary
