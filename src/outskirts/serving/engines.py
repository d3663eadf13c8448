"""What computes verdicts on the images of a batch: a guard in torch, or its exported file in ONNX Runtime."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import torch
from torch import Tensor

from ..data.decode import CorruptImage
from ..devices import resolve_device
from ..guard.export.onnx_file import onnx_runner
from ..guard.folder import load_about
from ..guard.guard import Guard
from ..guard.judging import require_top
from ..guard.predicting import rows_of
from ..guard.records import Record, record_of, unread_record
from ..guard.verdicts import Verdicts
from ..telling import silence
from .neighbours import Neighbours
from .options import Computing
from .uploads import Upload, Uploads, require_small

__all__ = ["Engine", "make_engine"]


class _Computed(Protocol):
    """What gives the rows of images, as `outskirts predict` writes them."""

    def __call__(self, uploads: Sequence[Upload], top: int) -> list[Record]: ...


class Engine:
    """A guard that computes, and is shown no image of too many pixels.

    Arguments:
        guard: The guard.
        version: What tells it from another of its name.
        options: How it computes.

    Raises:
        OutskirtsError: If it cannot be exported where ONNX Runtime is asked for, or the training images cannot be read.
    """

    def __init__(self, guard: Guard, version: str, options: Computing) -> None:
        self.version = version
        torch_device = str(resolve_device(options.device))
        self._computed: _Computed = _InTorch(guard, torch_device) if options.engine == "torch" else _InOnnx(guard)
        self._pixels = options.pixels
        self._neighbours = None if options.train is None else Neighbours(guard, options.train, torch_device)

    def __call__(self, uploads: Sequence[Upload], top: int, near: int = 0) -> list[Record]:
        """The rows of images.

        Arguments:
            uploads: The images.
            top: How many of the most probable classes are given.
            near: How many of the nearest training images are given, in ``near``.
        """
        rows: dict[int, Record] = {}
        for place, upload in enumerate(uploads):
            try:
                require_small(upload, self._pixels)
            except CorruptImage as error:
                rows[place] = unread_record(upload.name, str(error))
        places = [place for place in range(len(uploads)) if place not in rows]
        left = [uploads[place] for place in places]
        rows |= zip(places, self._computed(left, top) if left else [])
        if near and left and self._neighbours is not None:
            for at, found in self._neighbours(left, near).items():
                rows[places[at]]["near"] = found
        return [rows[place] for place in range(len(uploads))]


def make_engine(folder: Path, options: Computing) -> Engine:
    """Load the guard of a folder, ready to compute.

    Raises:
        OutskirtsError: If there is no guard, or it cannot be exported where ONNX Runtime is asked for.
    """
    version = load_about(folder)["digest"]
    return Engine(Guard.load(folder, strict=not options.any_version), version, options)


class _InTorch:
    def __init__(self, guard: Guard, device: str) -> None:
        self.guard, self.device = guard, device

    def __call__(self, uploads: Sequence[Upload], top: int) -> list[Record]:
        images = Uploads(uploads)
        rows = rows_of(self.guard, images, top, self.device)
        return [_renamed(row, images.name(place), uploads[place].name) for place, row in enumerate(rows)]


def _renamed(row: Record, old: str, new: str) -> Record:
    row["file"] = new
    if "error" in row:
        row["error"] = row["error"].replace(old, new)
    return row


class _InOnnx:
    """Images of one size go through the file together."""

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        with TemporaryDirectory() as folder:
            file = guard.export(Path(folder) / "guard.onnx", say=silence).path
            self.run = onnx_runner(file)

    def __call__(self, uploads: Sequence[Upload], top: int) -> list[Record]:
        require_top(self.guard, top)
        images = Uploads(uploads)
        rows: dict[int, Record] = {}
        by_size: dict[tuple[int, ...], list[int]] = defaultdict(list)
        pixels: dict[int, Tensor] = {}
        for place, upload in enumerate(uploads):
            try:
                image = images.image(place, self.guard.classifier.transform.reading)
            except CorruptImage as error:
                rows[place] = unread_record(upload.name, str(error))
            else:
                # The file takes pictures in colour; a grey one is the same three times.
                pixels[place] = image.expand(3, -1, -1).movedim(0, 2)
                by_size[tuple(image.shape[1:])].append(place)
        for places in by_size.values():
            given = self.run(torch.stack([pixels[place] for place in places]))
            named = [uploads[place].name for place in places]
            rows |= zip(places, map(record_of, self._verdicts(given, named, top)))
        return [rows[place] for place in range(len(uploads))]

    def _verdicts(self, given: Mapping[str, Tensor], names: list[str], top: int) -> Verdicts:
        shares, predicted = torch.empty(len(names), 0), torch.empty(len(names), 0, dtype=torch.int64)
        if "logits" in given:
            shares, predicted = given["logits"].softmax(1).topk(top)
        judged = (given["score"], given["p_value"], given["accepted"])
        return Verdicts(names, self.guard.classifier.classes, *judged, shares, predicted)
