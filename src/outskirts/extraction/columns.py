"""Columns of tensors that are filled batch by batch, in memory or straight in a safetensors file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..files import load_tensors, reserve, save_tensors, writing
from ..temporary import temporary_path

__all__ = ["Columns"]

_NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64", torch.float64: "F64"}


class Columns:
    """Some tensors of as many rows as there are images.

    With a path they are never in memory as a whole: the file is mapped, and has its name only once `finish` was called.

    Arguments:
        rows: N, at most.
        path: Path of the safetensors file; in memory unless given.
        about: Metadata of the file.
    """

    def __init__(self, rows: int, path: Path | None = None, about: Mapping[str, Any] | None = None) -> None:
        self.rows, self.path, self.about, self.filled = rows, path, dict(about or {}), 0
        self.columns: dict[str, Tensor] = {}
        self._temporary = None if path is None else temporary_path(path)

    def put(self, batch: Mapping[str, Tensor]) -> None:
        """The next rows of every column, whose first ones say what the columns are."""
        if not self.columns:
            self._create(batch)
        count = len(next(iter(batch.values())))
        for name, values in batch.items():
            self.columns[name][self.filled : self.filled + count] = values
        self.filled += count

    def finish(self, **changed: Any) -> dict[str, Tensor]:
        """What has been put; if there is a path, in its file, with these changes of the metadata."""
        about = {**self.about, **changed}
        columns = {name: column[: self.filled] for name, column in self.columns.items()}
        if self.path is None or self._temporary is None:
            return columns
        if self.filled == self.rows and about == self.about:
            os.replace(self._temporary, self.path)
        else:
            save_tensors(self.path, columns, about)
            self.discard()
        return load_tensors(self.path)[0]

    def discard(self) -> None:
        """Leave nothing half-written."""
        if self._temporary is not None:
            self._temporary.unlink(missing_ok=True)

    def _create(self, batch: Mapping[str, Tensor]) -> None:
        shapes = {name: (self.rows, *values.shape[1:]) for name, values in batch.items()}
        if self.path is None or self._temporary is None:
            self.columns = {n: values.new_empty(shapes[n], device="cpu") for n, values in batch.items()}
            return
        header: dict[str, Any] = {"__metadata__": {name: json.dumps(value) for name, value in self.about.items()}}
        end = 0
        # The widest first, so that each begins at a multiple of its numbers' size.
        for name, values in sorted(batch.items(), key=lambda item: -item[1].element_size()):
            start, end = end, end + values[:1].nbytes * self.rows
            header[name] = {"dtype": _NAMES[values.dtype], "shape": shapes[name], "data_offsets": [start, end]}
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with writing(self.path), self._temporary.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            file.flush()
            reserve(file, 8 + len(text), 8 + len(text) + end)
        first = 8 + len(text)
        mapped = torch.from_file(str(self._temporary), shared=True, size=first + end, dtype=torch.uint8)
        for name, values in batch.items():
            start, stop = (first + offset for offset in header[name]["data_offsets"])
            self.columns[name] = mapped[start:stop].view(values.dtype).view(shapes[name])
