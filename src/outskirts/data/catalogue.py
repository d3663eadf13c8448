"""Image sets by name, with where they come from, and whether a folder of one is whole."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import yaml

from ..errors import OutskirtsError, unknown
from ..files import file_digest, is_file, load_json, save_json, temporary_folder
from ..locking import only_writer
from ..telling import Say, silence
from .archive import unpack
from .download import BytesDone, Remote, download, etag_of

__all__ = ["RECORD", "Entry", "entries", "fetch_entry", "known", "verify_fetched"]

#: The file in a fetched folder that says what arrived.
RECORD = "outskirts.json"
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz")


@dataclass(frozen=True)
class Entry:
    """An image set that can be had.

    Arguments:
        name: Name of the set.
        description: What it holds.
        homepage: Where it is described.
        licence: Under what terms it may be used.
        files: What is downloaded.
        form: What to do by hand, where there is no direct link.
        folder: Where it goes in the folder of all sets, if that is not its name.
    """

    name: str
    description: str
    homepage: str
    licence: str
    files: tuple[Remote, ...] = field(default_factory=tuple)
    form: str | None = None
    folder: str | None = None

    def place(self, root: Path) -> Path:
        """Where it lies in the folder of all sets."""
        return root / (self.folder or self.name)


@cache
def entries() -> Mapping[str, Entry]:
    """All sets of the catalogue's file, by name."""
    content = yaml.safe_load((files("outskirts.data") / "catalogue.yaml").read_text(encoding="utf-8"))
    return {name: _entry(name, about) for name, about in content.items()}


def known(name: str) -> Entry:
    """A set by its name, or an error that names the nearest."""
    if name not in entries():
        raise unknown("image set to fetch", name, entries())
    return entries()[name]


def fetch_entry(entry: Entry, root: Path, progress: BytesDone = lambda done, total: None, say: Say = silence) -> Path:
    """Download and unpack a set, or what of it is not there.

    Arguments:
        entry: The set.
        root: The folder of all sets; this one's appears when it is whole.
        progress: Called with the bytes of a file that are there and the bytes it will have; None if that is
            not known.
        say: Told which files came without a published hash.

    Raises:
        OutskirtsError: If it cannot be had, or must be asked for by hand.
    """
    folder = entry.place(root)
    if folder.is_dir():
        return folder
    if entry.form:
        raise OutskirtsError(f"'{entry.name}' has no direct link. {entry.form} ({entry.homepage})")
    scratch = root / f".{entry.name}.fetched"
    with only_writer(scratch):
        paths = [download(remote, scratch, progress) for remote in entry.files]
        for name in (remote.name for remote in entry.files if not remote.has_hash):
            say(
                f"No hash of {name} is published, so it cannot be checked that the file is the one its authors made; "
                "the hashes of what arrived are kept, and outskirts data verify compares with them."
            )
        with temporary_folder(folder) as made:
            for path, remote in zip(paths, entry.files):
                if path.name.endswith(_ARCHIVES):
                    unpack(path, made / path.name.partition(".")[0] if len(paths) > 1 else made, remote.unpacked)
                else:
                    shutil.copy2(path, made)
            # Of those that lie together, some archives hold the folder itself, some what is in it.
            inside = [path for path in made.iterdir() if path.name != "__MACOSX"]
            nested = entry.folder and len(inside) == 1 and inside[0].is_dir() and inside[0].name == folder.name
            whole = inside[0] if nested else made
            etags = {path.name: etag for path in paths if (etag := etag_of(path))}
            save_json(whole / RECORD, {"name": entry.name, "etags": etags, **_content(whole)})
            whole.rename(folder)
        shutil.rmtree(scratch)
    return folder


def verify_fetched(folder: Path) -> int:
    """Compare a fetched folder with what arrived, byte by byte; returns the number of files.

    Raises:
        OutskirtsError: If a file is missing, left over or changed, naming some.
    """
    record = folder / RECORD
    if not folder.is_dir():
        raise OutskirtsError(f"There is no folder {folder}; 'outskirts data fetch' makes one for each set.")
    if not is_file(record):
        raise OutskirtsError(f"{folder} was not made by 'outskirts data fetch': it has no {RECORD}.")
    then, now = load_json(record, {"files": {str: str}})["files"], _content(folder)["files"]
    wrong = [
        *(f"{name} is missing" for name in then if name not in now),
        *(f"{name} is not part of the set" for name in now if name not in then),
        *(f"{name} has changed" for name in now if name in then and now[name] != then[name]),
    ]
    if wrong:
        shown = "; ".join(wrong[:5]) + (f"; and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        raise OutskirtsError(f"{folder} has changed since it was fetched: {shown}. Remove it, and fetch it again.")
    return len(now)


def _entry(name: str, about: dict[str, Any]) -> Entry:
    remotes = []
    for one in about.pop("files", []):
        named = one.pop("name", PurePosixPath(urlsplit(one["urls"][0]).path).name)
        remotes.append(Remote(named, **one))
    return Entry(name, files=tuple(remotes), **about)


def _content(folder: Path) -> dict[str, Any]:
    """The hash of each file, by its path."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != RECORD)
    return {"files": {path.relative_to(folder).as_posix(): file_digest(path) for path in paths}}
