"""Files on their way: names that say which process writes them, so that what a killed one left can be removed."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
from functools import cache
from pathlib import Path
from uuid import getnode, uuid4

from .errors import OutskirtsError

__all__ = ["is_temporary", "remove_abandoned", "require_last_name", "require_new", "temporary_path"]

_NAME = re.compile(r"\..+\.(?P<place>[0-9a-f]{12})-(?P<process>\d+)-[0-9a-f]{8}\.tmp")
_BOOT, _PROCESSES = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")

#: Folders that this process has cleared; a folder is listed once, however many files are written there.
_cleared: set[Path] = set()


def require_new(file: Path) -> None:
    """Raise if a file that is to be written is there."""
    if file.exists():
        raise OutskirtsError(f"{file} is there already; choose another name, or remove it.")


def require_last_name(path: Path) -> Path:
    """Raise unless a path ends in the name of a file or a folder, as ``.``, ``..`` and ``/`` do not; returns the path.

    >>> require_last_name(Path("../results.md"))
    PosixPath('../results.md')
    """
    if path.name in ("", ".."):
        raise OutskirtsError(
            f"The path '{path}' ends in no name; add that of what is to be written, as in {path / 'out'}."
        )
    return path


def temporary_path(path: Path) -> Path:
    """A name beside `path` that no other process or thread takes; what killed processes left there is removed first."""
    require_last_name(path)
    folder = path.parent.absolute()
    if folder not in _cleared:
        remove_abandoned(folder)
        _cleared.add(folder)
    return path.with_name(f".{path.name}.{_place()}-{os.getpid()}-{uuid4().hex[:8]}.tmp")


def is_temporary(path: Path) -> bool:
    """Whether a file is being written, or was by a process that was killed."""
    return path.name.startswith(".") and path.name.endswith(".tmp")


def remove_abandoned(folder: Path) -> None:
    """Remove the temporary files and folders of processes of this machine that are no more; all others stay."""
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        named = _NAME.fullmatch(path.name)
        if not named or named["place"] != _place() or _runs(int(named["process"])):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@cache
def _place() -> str:
    """What process numbers are unique in: this machine since it was started, or this container."""
    started = [_BOOT.read_text(encoding="ascii"), os.readlink(_PROCESSES)] if _BOOT.is_file() else [str(getnode())]
    parts = [platform.node(), *started]
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=6).hexdigest()


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
