"""Files from the net: downloaded in pieces that are kept, from whichever mirror answers, compared with their hash."""

from __future__ import annotations

import hashlib
import os
import tarfile
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from ..errors import OutskirtsError
from ..files import whole_folder, writing

__all__ = ["Remote", "download", "unpack"]

_PIECE = 2**20
#: Times that a mirror may break off without having sent anything more.
_PATIENCE = 3

BytesDone = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Remote:
    """A file that can be had from several places.

    Arguments:
        name: Name of the file.
        urls: Addresses of the file on its mirrors, the preferred one first.
        sha256: SHA-256 of the content, in hexadecimal, if it is known.
        md5: MD5 of the content, in hexadecimal, where only that was published.
        size: Size in bytes, if it is known.
    """

    name: str
    urls: Sequence[str]
    sha256: str | None = None
    md5: str | None = None
    size: int | None = None


def download(remote: Remote, folder: Path, progress: BytesDone = lambda done, total: None, pause: float = 1.0) -> Path:
    """Fetch a file, or what of it is not there.

    Stopped at any moment, it goes on where it was. A mirror that breaks off is asked for the rest; one that sends
    other bytes than were published, or does not answer, gives way to the next.

    Arguments:
        remote: The file.
        folder: Where it goes.
        progress: Told the bytes that are there, and how many there are to be; None if that is not known.
        pause: Seconds to wait before a mirror is asked again.

    Returns:
        Its path. The name appears when the file is whole.

    Raises:
        OutskirtsError: If no mirror has it, with what each one did.
    """
    path = folder / remote.name
    if path.is_file():
        if wrong := _wrong(path, remote):
            raise OutskirtsError(f"{path} is not the file that was published ({wrong}); remove it, and fetch it again.")
        return path
    folder.mkdir(parents=True, exist_ok=True)
    part, reasons = folder / f"{remote.name}.part", []
    for url in remote.urls:
        # What was there may be of another file, or wrong, so that it is asked for all of it then.
        for _ in range(1 + part.is_file()):
            try:
                _fetch(url, part, remote, progress, pause)
            except (HTTPException, OSError) as error:
                # What it has sent may be right, so that the next one goes on from there.
                reasons.append(f"{url}: {_reason(error)}")
                break
            wrong = _wrong(part, remote)
            if not wrong:
                os.replace(part, path)
                return path
            part.unlink()
        else:
            reasons.append(f"{url}: {wrong}")
    raise OutskirtsError(f"{remote.name} could not be fetched. " + " ".join(f"{reason}." for reason in reasons))


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar file into a folder that appears when all is there; nothing can land outside of it."""
    with writing(folder), whole_folder(folder) as scratch:
        try:
            if zipfile.is_zipfile(archive):
                with zipfile.ZipFile(archive) as packed:
                    packed.extractall(scratch)
            else:
                with tarfile.open(archive) as packed:
                    packed.extractall(scratch, filter="data")
        except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
            raise OutskirtsError(
                f"{archive} is damaged, or is not an archive ({error}); remove it, and fetch it again."
            ) from error


def _fetch(url: str, part: Path, remote: Remote, progress: BytesDone, pause: float) -> None:
    """Append to the part until the mirror says that it is whole."""
    fruitless = 0
    while True:
        start = part.stat().st_size if part.is_file() else 0
        try:
            if _append(url, part, remote, start, progress):
                return
            raise OSError("the connection broke off")
        except HTTPError as error:
            if error.code == 416 and start:
                # There is no more than what is there already.
                return
            raise
        except (HTTPException, OSError):
            grown = part.is_file() and part.stat().st_size > start
            fruitless = 0 if grown else fruitless + 1
            if fruitless >= _PATIENCE:
                raise
            time.sleep(pause)


def _append(url: str, part: Path, remote: Remote, start: int, progress: BytesDone) -> bool:
    """Ask for what is missing; returns whether all of it came."""
    request = Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    with urlopen(request, timeout=60) as answer:
        if start and answer.status != 206:
            # It sends everything again, from the beginning.
            start = 0
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length else remote.size
        done = start
        with writing(part), part.open("ab" if start else "wb") as file:
            while piece := answer.read(_PIECE):
                file.write(piece)
                done += len(piece)
                progress(done, total)
    return not total or done >= total


def _wrong(path: Path, remote: Remote) -> str:
    """What is wrong with a file, if anything is."""
    size = path.stat().st_size
    if remote.size and size != remote.size:
        return f"it has {size:,} bytes instead of {remote.size:,}"
    for kind, expected in (("sha256", remote.sha256), ("md5", remote.md5)):
        if expected:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, kind).hexdigest()
            if digest != expected.lower():
                return f"its {kind} is {digest} instead of {expected}"
            break
    return ""


def _reason(error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f"it answered {error.code} {error.reason}"
    return str(error.reason if isinstance(error, URLError) else error) or type(error).__name__
