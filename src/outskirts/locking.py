"""One writer for each folder: a lock of the operating system, which ends with the process that holds it."""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from .errors import OutskirtsError
from .files import LOCK_FILES, make_folder, writing
from .paths import require_unicode

__all__ = ["InUse", "only_writer"]

#: The folders that each thread of this process holds.
_held = threading.local()


class InUse(OutskirtsError):
    """Another process, or another thread, writes to the folder."""


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold a folder, which is made if it is not there, so that nobody else writes to it.

    The same thread may hold it again. Whoever only reads need not ask.

    Raises:
        InUse: If another process holds it, which is named, or another thread.
        OutskirtsError: If its path is not in UTF-8.
    """
    require_unicode(folder)
    place = folder.resolve()
    held: set[Path] = _held.__dict__.setdefault("folders", set())
    if place in held:
        yield
        return
    new = [one for one in (place, *place.parents) if not one.exists()]
    make_folder(folder)
    try:
        with _locked(place, folder):
            held.add(place)
            try:
                yield
            finally:
                held.discard(place)
    finally:
        # What nothing was written to goes as it came.
        with suppress(OSError):
            for made in new:
                made.rmdir()


@contextmanager
def _locked(place: Path, shown: Path) -> Iterator[None]:
    file, holder = (place / name for name in LOCK_FILES)
    lock = FileLock(file, timeout=0)
    with writing(file):
        try:
            lock.acquire()
        except Timeout as error:
            raise InUse(
                f"{shown} is being written by {_holder(holder)}; wait for it, or choose another folder."
            ) from error
    try:
        with writing(holder):
            holder.write_text(f"process {os.getpid()} on {platform.node()}", encoding="utf-8")
        yield
    finally:
        # While the lock is held: one who has opened the file by now finds it removed, and opens another.
        for path in (holder, file):
            with suppress(OSError):
                path.unlink()
        lock.release()


def _holder(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8") or "another process"
    except (OSError, UnicodeDecodeError):
        return "another process"
