"""Files that are whole or absent: atomic writes, safetensors and JSON, content hashes."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import torch
import xxhash
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .contents import misfit, read_yaml
from .errors import OutskirtsError, reason
from .temporary import remove_abandoned, temporary_path

__all__ = [
    "LOCK_FILES",
    "atomic",
    "digest",
    "file_digest",
    "is_file",
    "like_other_files",
    "load_json",
    "load_tensors",
    "load_yaml",
    "make_folder",
    "quick_digest",
    "reading",
    "require_alike",
    "require_empty",
    "require_file",
    "require_path_part",
    "reserve",
    "save_json",
    "save_tensors",
    "temporary_folder",
    "whole_folder",
    "write_text",
    "writing",
]


#: What `outskirts.locking` keeps in a folder while it is written; a folder that holds only these is empty.
LOCK_FILES = (".lock", ".writer")

#: Bytes of a file that are hashed at a time.
_HASHED = 2**22

_ZEROS = bytes(2**24)
#: Names have endings added, and files on their way a process; file systems allow 255 bytes.
_NAME_BYTES = 150


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a path of the same name, moved to `path` on success and removed on failure.

    It lies in a temporary folder of its own, as libraries write temporary files beside those that they are asked for.
    """
    with writing(path), temporary_folder(path) as folder:
        temporary = folder / path.name
        temporary.touch()
        mode = temporary.stat().st_mode
        yield temporary
        # Libraries may put a file in its place that nobody else can read.
        temporary.chmod(stat.S_IMODE(mode))
        os.replace(temporary, path)


def like_other_files(folder: Path, known: Path) -> None:
    """Give all files in a folder that a library wrote, which others could not read, the permissions of a known one."""
    mode = stat.S_IMODE(known.stat().st_mode)
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(mode)


@contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """Make a temporary folder beside `path`, which is removed when the block ends, if it is still there."""
    with writing(path):
        temporary = temporary_path(path)
        temporary.mkdir(parents=True)
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder, renamed to `path`, which is new or empty, on success and removed on failure."""
    with temporary_folder(path) as temporary:
        yield temporary
        with writing(path):
            os.replace(temporary, path)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system says when `path` cannot be written into a sentence."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        number = error.errno if isinstance(error, OSError) else None
        if number in (errno.ENOSPC, errno.EDQUOT) or re.search("no space left|quota exceeded", str(error), re.I):
            raise OutskirtsError(f"The disk is full: {path} was not written; free some space.") from error
        raise OutskirtsError(f"{path} cannot be written ({error}).") from error


@contextmanager
def reading(path: Path, missing: str = "") -> Iterator[None]:
    """Turn what the system says when `path` cannot be read into a sentence; of a pipe, no end may ever come.

    Arguments:
        path: The file.
        missing: What to say where there is none.
    """
    try:
        if not stat.S_ISREG(mode := path.stat().st_mode) and not stat.S_ISDIR(mode):
            raise OutskirtsError(f"{path} is a pipe or a device; only regular files are read.")
        yield
    except FileNotFoundError as error:
        raise OutskirtsError(missing or f"{path} is missing.") from error
    except PermissionError as error:
        raise _unreadable(path) from error
    except IsADirectoryError as error:
        raise OutskirtsError(f"{path} is a folder, not a file.") from error
    except OSError as error:
        if error.errno is None:  # It is a library's, and about the content.
            raise
        raise OutskirtsError(f"{path} cannot be read ({error.strerror}).") from error


def is_file(path: Path) -> bool:
    """Whether there is such a file; an error if the system does not let us know."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except PermissionError as error:
        raise _unreadable(path) from error
    except (OSError, ValueError):
        return False


def require_file(path: Path, missing: str) -> None:
    """Raise unless there is such a regular file; of a pipe or a device, it is said that it is one.

    Arguments:
        path: The file.
        missing: What to say where there is none.
    """
    if is_file(path):
        return
    with suppress(ValueError), reading(path, missing):  # No path holds a zero byte.
        pass
    raise OutskirtsError(missing)


def _unreadable(path: Path) -> OutskirtsError:
    return OutskirtsError(f"{path} is not readable: permission denied. Change its permissions, or run as its owner.")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def save_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def load_json(path: Path, kind: Any = Any) -> Any:
    """Read a JSON file; a missing or damaged one is a clear error.

    Arguments:
        path: The file.
        kind: What it should hold, as `misfit` takes it.
    """
    try:
        with reading(path):
            content = json.loads(path.read_text(encoding="utf-8"))
    # Of numbers with thousands of digits, and of lists within thousands of lists, the module does not speak so clearly.
    except (ValueError, RecursionError) as error:
        raise OutskirtsError(f"{path} is damaged: it is not valid JSON ({error}).") from error
    return _fitting(content, kind, path)


def _fitting(content: Any, kind: Any, path: Path) -> Any:
    if clause := misfit(content, kind):
        raise OutskirtsError(f"{path} is damaged: {clause}.")
    return content


def load_yaml(path: Path, missing: str = "", kind: Any = Any) -> Any:
    """Read a YAML file; a missing or damaged one is a clear error.

    Arguments:
        path: The file.
        missing: What to say where there is none.
        kind: What it should hold, as `misfit` takes it.
    """
    try:
        with reading(path, missing):
            content = read_yaml(path.read_text(encoding="utf-8"))
    # Of the date 2020-99-99, and of lists within thousands of lists, the module does not speak so clearly.
    except (ValueError, RecursionError) as error:
        raise OutskirtsError(f"{path} is damaged: it is not valid YAML ({reason(error, 1000)}).") from error
    return _fitting(content, kind, path)


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any] | None = None) -> None:
    """Write tensors and JSON-able metadata to one safetensors file, atomically."""
    encoded = {key: json.dumps(value) for key, value in (metadata or {}).items()}
    with atomic(path) as temporary:
        # With an empty mapping and no tensors, the library writes a header that is no JSON.
        save_file(_separate(tensors), temporary, encoded or None)
        _sort_metadata(temporary)


def _sort_metadata(path: Path) -> None:
    """Bring the metadata of a safetensors file into one order: the library's changes by chance, and with it the bytes
    of files that are otherwise equal.
    """
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        if "__metadata__" in header:
            header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        file.seek(8)
        file.write(text.ljust(size))


def _separate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """On the CPU, contiguous and in memory of their own: safetensors refuses tied weights."""
    separate: dict[str, Tensor] = {}
    memory: set[int] = set()
    for key, tensor in tensors.items():
        copy = tensor.detach().cpu().contiguous()
        copy = copy.clone() if copy.untyped_storage().data_ptr() in memory else copy
        memory.add(copy.untyped_storage().data_ptr())
        separate[key] = copy
    return separate


def load_tensors(path: Path, device: str = "cpu", kind: Any = Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote: the tensors and the metadata.

    Arguments:
        path: The file.
        device: Where the tensors shall be.
        kind: What the metadata should hold, as `misfit` takes it.
    """
    try:
        with reading(path), path.open("rb"), safe_open(path, "pt", device=device) as file:
            metadata = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
            _fitting(metadata, kind, path)
            return {key: file.get_tensor(key) for key in file.keys()}, metadata  # noqa: SIM118
    except (SafetensorError, ValueError, RecursionError) as error:
        raise OutskirtsError(f"{path} is damaged or not a safetensors file ({error}).") from error


def require_empty(folder: Path, remedy: str = "choose another.") -> None:
    """Raise unless a folder is new or empty."""
    if folder.is_dir():
        remove_abandoned(folder)
        if all(path.name in LOCK_FILES for path in folder.iterdir()):
            return
    if folder.exists():
        raise OutskirtsError(f"{folder} exists and is not an empty folder; {remedy}")


def make_folder(folder: Path) -> None:
    """Make a folder, and those that it lies in, where they are missing.

    Raises:
        OutskirtsError: If a file is in the way, or it may not be made.
    """
    if folder.is_file():
        raise OutskirtsError(f"{folder} is a file, not a folder; choose another name.")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)


def require_path_part(what: str, name: object) -> str:
    """Raise unless a name can be that of a single file or folder, and leads to nowhere else; returns the name.

    Arguments:
        what: What it is the name of, for the message.
        name: The name.

    >>> require_path_part("A benchmark", "photos-64")
    'photos-64'
    """
    text = str(name)
    bad = not text or text[0] in ".-" or re.search(r"[/\\\x00-\x1f\x7f]", text)
    if bad or len(os.fsencode(text)) > _NAME_BYTES:
        raise OutskirtsError(
            f"{what} cannot be called {text[:80]!r}. A name begins with neither '.' nor '-', has no '/' or '\\', and "
            f"has from 1 to {_NAME_BYTES} bytes."
        )
    return text


def reserve(file: IO[bytes], start: int, end: int) -> None:
    """Take the disk's space for the bytes from `start` to `end` of a new file, which become zeros.

    Written through a memory map, a disk that is full ends the process instead of raising an error.
    """
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), start, end - start)
            return
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP):
                raise
    file.seek(start)
    for done in range(start, end, len(_ZEROS)):
        file.write(_ZEROS[: end - done])


def require_alike(where: str, begun: Mapping[str, Any], asked: Mapping[str, Any], *names: str) -> None:
    """Raise unless work that was begun and stopped is the work that is asked for now.

    Arguments:
        where: What was begun, for the message.
        begun: What it was begun with.
        asked: What it would be begun with.
        names: What of it must be the same; all unless given.
    """
    for name in names or asked:
        if begun.get(name) != asked[name]:
            # People know images by their spec, unless that is the same.
            known = name == "fingerprint" and begun.get("data") != asked.get("data")
            shown = "data" if known else name
            raise OutskirtsError(
                f"{where} was begun with the {shown} {_short(begun.get(shown))}, not {_short(asked[shown])}; choose "
                "another folder."
            )


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) < 200 else f"{text[:200]}…"


def digest(*parts: bytes | str | Tensor) -> str:
    """A 128-bit hexadecimal hash of the parts, in order; tensors count by dtype, shape and content.

    >>> digest("a", "b") == digest("ab")
    False
    """
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        if isinstance(part, Tensor):
            array = part.detach().cpu().contiguous()
            header = f"{array.dtype}{tuple(array.shape)}"
            body: bytes | memoryview = array.flatten().view(torch.uint8).numpy().data
        else:
            header, body = str(len(part)), part.encode() if isinstance(part, str) else part
        state.update(header.encode() + b"\0")
        state.update(body)
    return state.hexdigest()


def quick_digest(path: Path) -> str:
    """A 128-bit hash of a file, in hexadecimal digits, which tells damage but no forgery: XXH3."""
    state = xxhash.xxh3_128()
    with reading(path), path.open("rb") as file:
        while block := file.read(_HASHED):
            state.update(block)
    return state.hexdigest()


def file_digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with reading(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
