"""Which stored images are the same: a hash of all their bytes.

A file is read once. What was found is remembered with its size, times and inode, in a record for each folder of images,
so that another run asks the file system alone.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray
from PIL import Image

from ..errors import OutskirtsError
from ..files import digest, load_tensors, save_tensors
from ..paths import home_expanded
from .decode import Altered, CorruptImage, Item, Items, is_deep, plain_pixels, regular
from .packed import Packed
from .reading import Reading
from .threads import BLOCK, in_order

__all__ = ["first_key", "item_key", "item_keys", "keys_folder"]

#: Bytes of a file that are read at once.
_CHUNK = 2**20

#: Nanoseconds after which a file's times tell whether it was changed since: until then it is not remembered.
_SETTLED = 2 * 10**9

#: Small files are read without Python's own file, which takes as long as the rest. A pipe is not waited for.
_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)

J = TypeVar("J")
R = TypeVar("R")

#: A file's bytes do not change without one of these: size, times of content and entry in nanoseconds, inode.
Status: TypeAlias = tuple[int, int, int, int]


def keys_folder() -> Path:
    """Where keys are remembered: ``$OUTSKIRTS_KEYS``, or ``~/.cache/outskirts/keys``."""
    return home_expanded(os.environ.get("OUTSKIRTS_KEYS") or "~/.cache/outskirts/keys")


def item_key(item: Item) -> str:
    """A hash that equal images share, 32 hexadecimal digits: of a file's bytes, or of pixels where there is no file.

    A file has the same key wherever it lies, on disk or inside a Parquet file. Another encoding of the same picture has
    another.

    Raises:
        CorruptImage: If a file cannot be read.

    References:
        | xxHash: Extremely fast non-cryptographic hash algorithm (Collet, 2012)
        | https://xxhash.com
    """
    item = _as_stored(item)
    if isinstance(item, Path):
        return _read(item)[1]
    if isinstance(item, bytes):
        return xxhash.xxh3_128_hexdigest(item)
    try:
        pixels = plain_pixels(item)
    except (OSError, SyntaxError, ValueError) as error:
        raise CorruptImage(f"A picture cannot be read ({error}).") from error
    state = xxhash.xxh3_128(str(pixels.shape).encode())
    state.update(np.ascontiguousarray(pixels).data)
    return state.hexdigest()


def first_key(item: Item) -> str:
    """The key that version 0.1 gave an image: of pixels, or of a file's size and first 64 KiB.

    Large files that begin alike share one. It is there to compare images with what 0.1 has written.
    """
    item = _as_stored(item)
    if isinstance(item, Path):
        try:
            size = regular(item).st_size
            with item.open("rb") as file:
                return digest(str(size), file.read(2**16))
        except OSError as error:
            raise CorruptImage(f"{item} cannot be read ({error}).") from error
    if isinstance(item, bytes):
        return digest(str(len(item)), item[: 2**16])
    pixels = plain_pixels(item) if isinstance(item, np.ndarray) else np.asarray(item)
    return digest(str(pixels.shape), pixels.tobytes())


def _as_stored(item: Item) -> bytes | Path | Image.Image | NDArray[Any]:
    """What is hashed of an image. A change of it is that of what version 0.1 read, so that keys stay what they were."""
    if not isinstance(item, Altered):
        return item
    return item.read(Reading(upright=False, background=None, levels="own" if is_deep(item) else None))


def item_keys(items: Items, rows: Sequence[int], first: bool = False) -> list[str]:
    """The keys of some items, in the order of `rows`; empty for those that cannot be read.

    Arguments:
        items: Stored images. What is found of files in a list or in archives, and of an array on disk, is remembered.
        rows: Which of them.
        first: Give them the keys of version 0.1.
    """
    if first:
        return list(_threaded(lambda row: _key_or_none(items, row, first_key), rows))
    if isinstance(items, np.memmap) and isinstance(items.filename, (str, os.PathLike)):
        return _of_one_file(items, Path(items.filename).absolute(), rows, list(map(str, rows)))
    if isinstance(items, Packed):
        return _of_packed(items, rows)
    if isinstance(items, list) and all(isinstance(items[row], Path) for row in rows):
        return _of_files([items[row].absolute() for row in rows])
    return list(_threaded(lambda row: _key_or_none(items, row), rows))


def _of_files(paths: Sequence[Path]) -> list[str]:
    """The keys of files; each folder's record is opened once, and saved as soon as its last file was read."""
    records = {folder: _Record.of(folder) for folder in {path.parent for path in paths}}
    # All at once, since many folders hold less than what keeps one thread busy.
    statuses = dict(zip(paths, _threaded(_status_or_none, paths)))
    keys = {path: records[path.parent].key(path.name, status) for path, status in statuses.items()}
    unknown = [path for path, status in statuses.items() if not keys[path] and status is not None]
    left = Counter(path.parent for path in unknown)
    for path, (status, key) in zip(unknown, _threaded(_read_or_none, unknown)):
        keys[path] = key
        records[path.parent].add(path.name, status, key)
        left[path.parent] -= 1
        if not left[path.parent]:
            records[path.parent].save()
    return [keys[path] for path in paths]


def _of_packed(items: Packed, rows: Sequence[int]) -> list[str]:
    """The keys of images in archives."""
    keys: dict[int, str] = {}
    by_archive: dict[int, list[int]] = {}
    for row in rows:
        by_archive.setdefault(items.members[row][0], []).append(row)
    for archive, own in by_archive.items():
        places = [str(items.members[row][1].start) for row in own]
        keys.update(zip(own, _of_one_file(items, items.archives[archive].absolute(), own, places)))
    return [keys[row] for row in rows]


def _of_one_file(items: Items, file: Path, rows: Sequence[int], places: Sequence[str]) -> list[str]:
    """The keys of images that one file holds: they are known as long as it is the same.

    Arguments:
        items: Stored images.
        file: The file.
        rows: Which of them.
        places: What each is called in the record of the file.
    """
    record, status = _Record.of(file), _status_or_none(file)
    keys = {row: record.key(place, status) for row, place in zip(rows, places)}
    unknown = [(row, place) for row, place in zip(rows, places) if not keys[row]]
    for (row, place), key in zip(unknown, _threaded(lambda one: _key_or_none(items, one[0]), unknown)):
        keys[row] = key
        record.add(place, status, key)
    record.save()
    return [keys[row] for row in rows]


def _threaded(work: Callable[[J], R], jobs: Sequence[J]) -> Iterator[R]:
    """What `work` gives for each job, in order; what is small is done in blocks."""
    blocks = (jobs[start : start + BLOCK] for start in range(0, len(jobs), BLOCK))
    with closing(in_order(lambda block: [work(job) for job in block], blocks)) as done:
        for block in done:
            yield from block


class _Record:
    """What is remembered of the files in a folder or an archive, or of the rows of an array.

    Arguments:
        file: Where it is kept.
        known: Status and key by name.
    """

    def __init__(self, file: Path, known: dict[str, tuple[Status, str]]) -> None:
        self.file, self.known, self.changed = file, known, False

    @classmethod
    def of(cls, place: Path) -> _Record:
        """The record of a folder or of an array's file. One that is damaged is begun anew."""
        file = keys_folder() / f"{digest(os.fsencode(place))}.safetensors"
        try:
            tensors, _ = load_tensors(file)
            names = os.fsdecode(tensors["names"].numpy().tobytes()).split("\0")
            keys = tensors["keys"].numpy().tobytes().hex()
            statuses = [tuple(row) for row in tensors["statuses"].tolist()]
            return cls(file, {name: (statuses[i], keys[32 * i : 32 * i + 32]) for i, name in enumerate(names)})
        except (OutskirtsError, KeyError, IndexError, OSError):
            return cls(file, {})

    def key(self, name: str, status: Status | None) -> str:
        """The key of what has had this status since it was read; empty if that is not known."""
        seen, key = self.known.get(name, (None, ""))
        return key if seen == status is not None else ""

    def add(self, name: str, status: Status | None, key: str) -> None:
        """Remember a key, if its file was settled when it was read."""
        if key and status is not None and max(status[1:3]) < time.time_ns() - _SETTLED:
            self.known[name] = (status, key)
            self.changed = True

    def save(self) -> None:
        """Keep what was added. Where nothing can be written, files are read again the next time."""
        if not self.changed:
            return
        names = np.frombuffer(os.fsencode("\0".join(self.known)), np.uint8)
        keys = np.frombuffer(bytes.fromhex("".join(key for _, key in self.known.values())), np.uint8)
        tensors = {
            "names": torch.from_numpy(names.copy()),
            "statuses": torch.tensor([status for status, _ in self.known.values()]),
            "keys": torch.from_numpy(keys.reshape(-1, 16).copy()),
        }
        with suppress(OutskirtsError):
            save_tensors(self.file, tensors)


def _read(path: Path) -> tuple[Status, str]:
    """Status and key of a file."""
    try:
        file = os.open(path, _FLAGS)
        try:
            before = _status(file)
            state, size = xxhash.xxh3_128(), min(before[0] + 1, _CHUNK)
            while chunk := os.read(file, size):
                state.update(chunk)
        finally:
            os.close(file)
    except PermissionError as error:
        raise CorruptImage(f"{path} is not readable: permission denied.") from error
    except OSError as error:
        raise CorruptImage(f"{path} cannot be read ({error}).") from error
    return before, state.hexdigest()


def _status(file: Path | int) -> Status:
    """Raises what `regular` does."""
    known = regular(file)
    return known.st_size, known.st_mtime_ns, known.st_ctime_ns, known.st_ino


# `skip_corrupt` may leave out what cannot be read; who reads its pixels gets the error.


def _status_or_none(path: Path) -> Status | None:
    try:
        return _status(path)
    except OSError:
        return None


def _read_or_none(path: Path) -> tuple[Status | None, str]:
    try:
        return _read(path)
    except CorruptImage:
        return None, ""


def _key_or_none(items: Items, row: int, key: Callable[[Item], str] = item_key) -> str:
    try:
        return key(items[row])
    except CorruptImage:
        return ""
