"""Folders of shards: many rows on disk, made part by part, by one process or by several that see the folder.

A folder holds ``manifest.json``, which says by what and of what the rows were made and how many each shard has, and the
shards ``tokens-00000.safetensors``, … with a tensor for each column. It is begun once: whoever comes later, or in the
same moment, must ask for the same. Shards are whole or absent, so what was stopped goes on where it was.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..contents import misfit
from ..errors import OutskirtsError
from ..files import load_json, reading, require_alike, require_empty, save_json, save_tensors, writing
from ..temporary import is_temporary, temporary_path

__all__ = ["ShardKind", "Shards"]

_MANIFEST = "manifest.json"


@dataclass(frozen=True)
class ShardKind:
    """What folders of one kind call things.

    Arguments:
        content: What they hold, for errors.
        stem: What the names of their files begin with.
        sizes: What the manifest calls the numbers of rows, and errors the shards.
        format: The version of the folder that is read and written.
        resume: How to go on with what was stopped, for errors.
        remake: How to make a damaged shard again, for errors.
    """

    content: str
    stem: str
    sizes: str
    format: int
    resume: str
    remake: str


@dataclass(frozen=True)
class Shards:
    """A folder that was begun; its shards are opened when they are asked for.

    Arguments:
        folder: Where it is.
        kind: What it holds.
        about: The manifest.
    """

    folder: Path
    kind: ShardKind
    about: Mapping[str, Any]

    @classmethod
    def begin(
        cls, folder: Path, kind: ShardKind, rows: int, size: int, about: Mapping[str, Any], free: Sequence[str] = ()
    ) -> Shards:
        """Begin a folder, or go on with one that was begun alike.

        Arguments:
            folder: New, empty, or begun before.
            kind: What it will hold.
            rows: How many rows in all.
            size: Rows of each shard but the last, which has what is left.
            about: What else goes into the manifest.
            free: What of the manifest may differ from what the folder was begun with.

        Raises:
            OutskirtsError: If the folder was begun otherwise, or holds something else.
        """
        sizes = [min(size, rows - start) for start in range(0, rows, size)]
        asked = {"format": kind.format, **about, kind.sizes: sizes}
        _begin(folder, asked)
        # Also where this process wrote it: of two that began at once, one did.
        begun = load_json(folder / _MANIFEST)
        require_alike(str(folder), begun, asked, *(name for name in asked if name not in free))
        return cls(folder, kind, begun)

    @classmethod
    def open(cls, folder: Path, kind: ShardKind) -> Shards:
        """A folder that is finished.

        Raises:
            OutskirtsError: If it is of another kind or version, or a shard is missing.
        """
        about = load_json(folder / _MANIFEST)
        if misfit(about, {"format": int, kind.sizes: [int]}) or about["format"] != kind.format:
            raise OutskirtsError(f"{folder} holds no {kind.content} that this version of outskirts can read.")
        shards = cls(folder, kind, about)
        missing = sum(shards.lacks(number) for number in range(len(shards.sizes)))
        if missing:
            raise OutskirtsError(
                f"{folder} is not finished: {missing} of {len(shards.sizes)} {kind.sizes} are missing. To "
                f"continue, {kind.resume}."
            )
        return shards

    @property
    def sizes(self) -> list[int]:
        """Rows of each shard; all but the last have as many."""
        return self.about[self.kind.sizes]

    @property
    def done(self) -> int:
        """Rows that are there, whoever made them."""
        return sum(size for number, size in enumerate(self.sizes) if not self.lacks(number))

    def file(self, number: int) -> Path:
        """Where a shard is, or will be."""
        return self.folder / f"{self.kind.stem}-{number:05d}.safetensors"

    def lacks(self, number: int, share: tuple[int, int] = (0, 1)) -> bool:
        """Whether a shard is still to be made by the process that has this share.

        Arguments:
            number: Number of the shard, from 0.
            share: k of n: every n-th shard from the k-th on, counted from 0.
        """
        k, n = share
        return number % n == k and not self.file(number).is_file()

    def rows(self, number: int) -> Tensor:
        """Which rows of all a shard has, int64 [n]."""
        start = number * self.sizes[0]
        return torch.arange(start, start + self.sizes[number])

    def write(self, number: int, columns: Mapping[str, Tensor]) -> None:
        """Write a shard whole, its columns with as many rows as the manifest says."""
        save_tensors(self.file(number), columns)

    @contextmanager
    def opened(self, number: int) -> Iterator[Any]:
        """The safetensors file of a shard; where it is missing or damaged, an error says what to do."""
        file = self.file(number)
        try:
            missing = f"{file} is missing. To make it again, {self.kind.resume}."
            with reading(file, missing), file.open("rb"), safe_open(file, "pt") as stream:
                yield stream
        except SafetensorError as error:
            raise OutskirtsError(f"{file} is damaged ({error}); delete it and {self.kind.remake}.") from error

    def columns(self, *names: str) -> list[Tensor]:
        """These columns of all rows, each [N, …].

        Raises:
            OutskirtsError: If a shard, in these or other columns, has not as many rows as the manifest says, or rows
                that are not like those of the first.
        """
        parts: list[list[Tensor]] = []
        kinds: dict[str, tuple[list[int], str]] = {}
        for number in range(len(self.sizes)):
            with self.opened(number) as stream:
                self._require_rows(number, stream, kinds)
                parts.append([stream.get_tensor(name) for name in names])
        return [torch.cat(column) for column in zip(*parts)]

    def _require_rows(self, number: int, stream: Any, kinds: dict[str, tuple[list[int], str]]) -> None:
        """Raise unless each column of a shard is as long as it must be, and its rows are like those of others."""
        for name in stream.keys():  # noqa: SIM118 - it is no dictionary.
            column = stream.get_slice(name)
            count, *shape = column.get_shape() or [0]
            if count != self.sizes[number]:
                raise OutskirtsError(f"{self.file(number)} holds {count} rows instead of {self.sizes[number]}.")
            kind = shape, column.get_dtype()
            if kinds.setdefault(name, kind) != kind:
                raise OutskirtsError(
                    f"{self.file(number)} holds {name} of another shape or type than the files before; delete it and "
                    f"{self.kind.remake}."
                )

    def gather(self, name: str, rows: Tensor) -> Tensor:
        """Some rows of a column, [n, …], for which each shard is opened once.

        Arguments:
            name: Name of the column.
            rows: Which of all, int64 [n].
        """
        with self.opened(0) as stream:
            none = stream.get_slice(name)[:0]
        taken = none.new_empty(len(rows), *none.shape[1:])
        numbers = rows // self.sizes[0]
        for number in numbers.unique().tolist():
            chosen = numbers == number
            with self.opened(number) as stream:
                taken[chosen] = stream.get_tensor(name)[rows[chosen] - number * self.sizes[0]]
        return taken

    def row(self, name: str, row: int) -> Tensor:
        """One row of a column, [1, …]; nothing else is read."""
        number, at = divmod(row, self.sizes[0])
        with self.opened(number) as stream:
            return stream.get_slice(name)[at : at + 1]


def _begin(folder: Path, about: Mapping[str, Any], patience: float = 2.0) -> None:
    """Write the manifest, unless another process has, or does in this moment.

    Arguments:
        folder: New, empty, or begun.
        about: The manifest.
        patience: Seconds to wait for it in a folder that holds something else: on a network drive, a file that was
            written later may be seen earlier.
    """
    until = time.monotonic() + patience
    while not (folder / _MANIFEST).is_file():
        if not folder.exists() or (folder.is_dir() and all(map(is_temporary, folder.iterdir()))):
            _write_once(folder / _MANIFEST, about)
        elif not folder.is_dir() or time.monotonic() > until:
            require_empty(folder)
        else:
            time.sleep(0.05)


def _write_once(path: Path, value: Any) -> None:
    """Write a JSON file whole, or leave the one that is there."""
    whole = temporary_path(path)
    try:
        save_json(whole, value)
        # Unlike a renamed file, a link never takes the place of what another process has just written.
        with writing(path):
            try:
                os.link(whole, path)
            except FileExistsError:
                pass
            except OSError:  # A file system without links.
                if not path.is_file():
                    os.replace(whole, path)
    finally:
        whole.unlink(missing_ok=True)
