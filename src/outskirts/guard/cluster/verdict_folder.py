"""A folder of verdicts: a Parquet file for each block of images, on a disk or at a URL that fsspec knows."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from ...contents import misfit
from ...errors import OutskirtsError, loading, reason
from ...files import LOCK_FILES
from ...locking import only_writer
from ...paths import output_path
from ...temporary import require_last_name
from ..records import Record, columns, require_pyarrow, writer

__all__ = ["VerdictFolder"]

#: The file that says what the parts are of. Programs that read a folder of Parquet leave out names that begin so.
_MANIFEST = "_verdicts.json"
_PART = re.compile(r"part-(\d{7,})\.parquet")
#: How files on their way begin, and marks of blocks that were begun.
_HIDDEN = ".part-"


class VerdictFolder:
    """Parts of verdicts, each whole or absent, and what they are of.

    A part is called by the number of its block, so that a block that is looked at twice has one part.

    Arguments:
        place: Path of the folder, or a URL of fsspec such as ``s3://bucket/verdicts``.

    Raises:
        OutskirtsError: If fsspec knows no such URL, or lacks the package for it.
    """

    def __init__(self, place: str | Path) -> None:
        self.place = str(place)
        self.files, self.root = _located(place)

    @contextmanager
    def only_writer(self) -> Iterator[None]:
        """Hold the folder, so that no other call writes to it; at a URL, nothing can be held."""
        if self.local is None:
            yield
            return
        with only_writer(self.local):
            yield

    @property
    def local(self) -> Path | None:
        """The path of the folder on a disk; None at any other place."""
        from fsspec.implementations.local import LocalFileSystem

        return Path(self.root) if isinstance(self.files, LocalFileSystem) else None

    def begin(self, header: dict[str, Any]) -> set[int]:
        """The numbers of the blocks that are done; a new folder says from now on what its verdicts are of.

        Arguments:
            header: What they are of.

        Raises:
            OutskirtsError: If it is finished, holds other files, or was begun with something else.
        """
        names = self._names()
        if _MANIFEST in names:
            begun = self._manifest()
            if "summary" in begun:
                raise OutskirtsError(f"{self.place} is there already; choose another name, or remove it.")
            if begun["of"] != header:
                raise OutskirtsError(
                    f"{self.place} was begun with another guard, other images or other options. Remove it to begin "
                    "anew."
                )
            return self._numbers(names)
        if names:
            raise OutskirtsError(f"{self.place} exists and is not an empty folder; choose another.")
        with loading(f"{self.place} cannot be written"):
            self.files.makedirs(self.root, exist_ok=True)
        self._write(_MANIFEST, _json({"of": header}))
        return set()

    def numbers(self) -> set[int]:
        """The numbers of the blocks that are done."""
        return self._numbers(self._names())

    def has(self, number: int) -> bool:
        """Whether a block is done."""
        with loading(f"{self.place} cannot be read"):
            self.files.invalidate_cache(self.root)
            return bool(self.files.exists(self._path(_name(number))))

    def write(self, number: int, rows: Sequence[Record], top: int) -> None:
        """Write the part of a block.

        Arguments:
            number: Number of the block.
            rows: The row of each of its images, in their order.
            top: How many of the most probable classes they give.
        """
        with TemporaryDirectory() as folder:
            file = Path(folder) / "part.parquet"
            with writer(".parquet", file, columns(top)) as write:
                write(rows)
            self._write(_name(number), file.read_bytes())

    def rows(self, number: int) -> list[Record]:
        """What is counted of each image of a block that is done: `p_value`, `accepted` and `error`, where there are."""
        require_pyarrow()
        import pyarrow.parquet as pq

        path = self._path(_name(number))
        with (
            loading(f"{self.place}/{_name(number)} is damaged; remove it, and it is made again"),
            self.files.open(path, "rb") as file,
        ):
            table = pq.ParquetFile(file).read(["p_value", "accepted", "error"]).to_pylist()
        return [{name: value for name, value in row.items() if value is not None} for row in table]

    def attempts(self, number: int, call: str, most: int) -> int:
        """How often a block was begun before in a call, and never ended; it is begun once more.

        Arguments:
            number: Number of the block.
            call: Name of the call.
            most: Attempts that are counted at most.
        """
        marks = self._marks(number, call, most)
        with loading(f"{self.place} cannot be written"):
            self.files.invalidate_cache(self.root)
            before = next((place for place, mark in enumerate(marks) if not self.files.exists(mark)), most)
            if before < most:
                self.files.pipe_file(marks[before], b"begun")
        return before

    def ended(self, number: int, call: str, most: int) -> None:
        """Forget that a block was begun; arguments are those of `attempts`."""
        for mark in self._marks(number, call, most):
            try:
                self.files.rm_file(mark)
            except OSError:  # It was not begun so often.
                return

    def finish(self, summary: dict[str, Any]) -> None:
        """Say that the verdicts are all there, and remove what killed workers left."""
        for name in self._names(hidden=True):
            if name.startswith(_HIDDEN):
                with suppress(OSError):
                    self.files.rm_file(self._path(name))
        self._write(_MANIFEST, _json({**self._manifest(), "summary": summary}))

    def _marks(self, number: int, call: str, most: int) -> list[str]:
        return [self._path(f"{_HIDDEN}{number:07}-{call}-{attempt}") for attempt in range(most)]

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}"

    def _names(self, hidden: bool = False) -> set[str]:
        """The names of what is in the folder, without locks; with files on their way if asked for."""
        with loading(f"{self.place} cannot be read"):
            self.files.invalidate_cache(self.root)
            try:
                found = self.files.ls(self.root, detail=False)
            except FileNotFoundError:
                return set()
            is_file = self.root in found and self.files.isfile(self.root)
        if is_file:
            raise OutskirtsError(f"{self.place} is a file, not a folder; choose another name.")
        names = {path.rstrip("/").rpartition("/")[2] for path in found if path.rstrip("/") != self.root}
        return {name for name in names - {*LOCK_FILES} if hidden or not name.startswith(_HIDDEN)}

    def _numbers(self, names: set[str]) -> set[int]:
        return {int(match[1]) for name in names if (match := _PART.fullmatch(name))}

    def _manifest(self) -> dict[str, Any]:
        with loading(f"{self.place}/{_MANIFEST} cannot be read"):
            content = self.files.cat_file(self._path(_MANIFEST))
        with suppress(ValueError, RecursionError):
            if not misfit(record := json.loads(content), {"of": dict}):
                return dict(record)
        raise OutskirtsError(f"{self.place}/{_MANIFEST} is damaged. Remove {self.place} to begin anew.")

    def _write(self, name: str, content: bytes) -> None:
        """Write a file that is whole or absent: it is renamed when all of it is there."""
        temporary = self._path(f"{_HIDDEN}{uuid4().hex}.tmp")
        with loading(f"{self.place}/{name} cannot be written"):
            self.files.pipe_file(temporary, content)
            self.files.mv(temporary, self._path(name))


def _name(number: int) -> str:
    return f"part-{number:07}.parquet"


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()


def _located(place: str | Path) -> tuple[Any, str]:
    """The file system of a place, and its path there, without a slash at its end."""
    import fsspec  # It comes with torch.

    if "://" not in str(place):
        path = require_last_name(output_path(place))
        return fsspec.filesystem("file"), os.path.abspath(path)
    try:
        files, root = fsspec.core.url_to_fs(str(place))
    except (ImportError, ValueError) as error:
        raise OutskirtsError(f"{place} is no place that can be written to here ({reason(error)}).") from error
    if not root.strip("/"):
        raise OutskirtsError(f"{place} names no folder; add the name of one, as in {str(place).rstrip('/')}/verdicts.")
    return files, root.rstrip("/")
