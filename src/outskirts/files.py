"""Files that are whole or absent: atomic writes, safetensors and JSON, content hashes."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .errors import OutskirtsError

__all__ = [
    "atomic",
    "digest",
    "file_digest",
    "is_file",
    "like_other_files",
    "load_json",
    "load_tensors",
    "reading",
    "require_alike",
    "require_empty",
    "require_path_part",
    "save_json",
    "save_tensors",
    "write_text",
    "writing",
]


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, renamed over it on success and removed on failure."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.unlink(missing_ok=True)
            temporary.touch()
            mode = temporary.stat().st_mode
            yield temporary
            # Libraries may put a file in its place that nobody else can read.
            temporary.chmod(stat.S_IMODE(mode))
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def like_other_files(folder: Path, known: Path) -> None:
    """Give all files in a folder that a library wrote, which others could not read, the permissions of a known one."""
    mode = stat.S_IMODE(known.stat().st_mode)
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(mode)


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
    """Turn what the system says when `path` cannot be read into a sentence.

    Arguments:
        path: The file.
        missing: What to say where there is none.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise OutskirtsError(missing or f"{path} is missing.") from error
    except PermissionError as error:
        raise _unreadable(path) from error
    except IsADirectoryError as error:
        raise OutskirtsError(f"{path} is a folder, not a file.") from error


def is_file(path: Path) -> bool:
    """Whether there is such a file; an error if the system does not let us know."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except PermissionError as error:
        raise _unreadable(path) from error
    except (OSError, ValueError):
        return False


def _unreadable(path: Path) -> OutskirtsError:
    return OutskirtsError(f"{path} is not readable: permission denied. Change its permissions, or run as its owner.")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def save_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def load_json(path: Path) -> Any:
    """Read a JSON file; a missing or damaged one is a clear error."""
    try:
        with reading(path):
            return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise OutskirtsError(f"{path} is damaged: it is not valid JSON ({error}).") from error


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any] | None = None) -> None:
    """Write tensors and JSON-able metadata to one safetensors file, atomically."""
    encoded = {key: json.dumps(value) for key, value in (metadata or {}).items()}
    with atomic(path) as temporary:
        save_file(_separate(tensors), temporary, encoded)
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


def load_tensors(path: Path, device: str = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote: the tensors and the metadata."""
    try:
        with reading(path), path.open("rb"), safe_open(path, "pt", device=device) as file:
            metadata = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
            return {key: file.get_tensor(key) for key in file.keys()}, metadata  # noqa: SIM118
    except (SafetensorError, json.JSONDecodeError) as error:
        raise OutskirtsError(f"{path} is damaged or not a safetensors file ({error}).") from error


def require_path_part(what: str, name: str) -> None:
    """Raise unless a name that becomes part of a path leads to nowhere else.

    Arguments:
        what: What it is the name of, for the message.
        name: The name.

    >>> require_path_part("A variant", "../evil")
    Traceback (most recent call last):
    outskirts.errors.OutskirtsError: A variant cannot be called '../evil'. A name is made of letters, digits and . + - _
    """
    if not re.fullmatch(r"\w[\w.+-]*", str(name)):
        raise OutskirtsError(f"{what} cannot be called '{name}'. A name is made of letters, digits and . + - _")


def require_empty(folder: Path, remedy: str = "choose another.") -> None:
    """Raise unless a folder is new or empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutskirtsError(f"{folder} exists and is not an empty folder; {remedy}")


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


def file_digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with reading(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
