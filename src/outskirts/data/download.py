"""Files from the net: downloaded in pieces that are kept, from whichever mirror answers, compared with their hash."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from ..errors import OutskirtsError
from ..files import is_file, load_json, make_folder, save_json, writing

__all__ = ["Remote", "download", "etag_of"]

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
        unpacked: Bytes that it may unpack to, if it is an archive and they are more than usual.
    """

    name: str
    urls: Sequence[str]
    sha256: str | None = None
    md5: str | None = None
    size: int | None = None
    unpacked: int | None = None

    @property
    def has_hash(self) -> bool:
        """Whether it can be told if what arrived is what was published."""
        return bool(self.sha256 or self.md5)


def download(remote: Remote, folder: Path, progress: BytesDone = lambda done, total: None, pause: float = 1.0) -> Path:
    """Fetch a file, or what of it is not there.

    Stopped at any moment, it goes on where it was. A mirror that breaks off is asked for the rest; one that sends
    other bytes than were published, or does not answer, gives way to the next. Without a published hash, only what has
    the same ETag on the same server is continued, so that two files are never mixed; all else begins again.

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
    make_folder(folder)
    part, reasons = folder / f"{remote.name}.part", []
    for url in remote.urls:
        # What was there may be of another file, or wrong, so that it is asked for all of it then.
        for _ in range(1 + part.is_file()):
            try:
                _fetch(url, path, part, remote, progress, pause)
            except (HTTPException, OSError) as error:
                # What it has sent may be right, so that the next one goes on from there.
                reasons.append(f"{url}: {_reason(error)}")
                break
            wrong = _wrong(part, remote)
            if not wrong:
                os.replace(part, path)
                if remote.has_hash:
                    _origin_file(path).unlink(missing_ok=True)
                return path
            part.unlink()
            _origin_file(path).unlink(missing_ok=True)
        else:
            reasons.append(f"{url}: {wrong}")
    raise OutskirtsError(f"{remote.name} could not be fetched. " + " ".join(f"{reason}." for reason in reasons))


def etag_of(path: Path) -> str | None:
    """The ETag that the server gave for a file without a published hash, if it gave one."""
    return _origin(path).get("etag")


class _Changed(OSError):
    """The file on the server is another than the one that was begun."""


def _fetch(url: str, path: Path, part: Path, remote: Remote, progress: BytesDone, pause: float) -> None:
    """Append to the part until the mirror says that it is whole."""
    fruitless = changes = 0
    while True:
        start, etag = _start(url, path, part, remote)
        try:
            if _append(url, path, part, remote, start, etag, progress):
                return
            raise OSError("the connection broke off")
        except HTTPError as error:
            if error.code != 416 or not start:
                raise
            if remote.has_hash or error.headers.get("Content-Range") == f"bytes */{start}":
                # There is no more than what is there already.
                return
            part.unlink()
        except _Changed:
            part.unlink()
            changes += 1
            if changes >= _PATIENCE:
                raise
        except (HTTPException, OSError):
            grown = part.is_file() and part.stat().st_size > start
            fruitless = 0 if grown else fruitless + 1
            if fruitless >= _PATIENCE:
                raise
            time.sleep(pause)


def _start(url: str, path: Path, part: Path, remote: Remote) -> tuple[int, str | None]:
    """From which byte to ask for, and the ETag that the rest must have.

    What is there is continued if a hash will tell whether it belongs together, or if the ETag does.
    """
    start, known = part.stat().st_size if part.is_file() else 0, _origin(path)
    etag = known.get("etag") if known.get("url") == url else None
    if start and etag and not etag.startswith("W/"):
        return start, etag
    return (start if remote.has_hash else 0), None


def _append(
    url: str, path: Path, part: Path, remote: Remote, start: int, etag: str | None, progress: BytesDone
) -> bool:
    """Ask for what is missing; returns whether all of it came."""
    headers = {"Range": f"bytes={start}-"} if start else {}
    if etag:
        headers["If-Range"] = etag
    with urlopen(Request(url, headers=headers), timeout=60) as answer:
        now = answer.headers.get("ETag")
        if start and answer.status != 206:
            # It sends everything again, from the beginning.
            start = 0
        elif start and ((etag and now != etag) or not _begins_at(start, answer.headers.get("Content-Range"))):
            raise _Changed("the file changed while it was fetched")
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length else remote.size
        done = start
        with writing(part), part.open("ab" if start else "wb") as file:
            if not start:
                # Never before the part is empty, which is of another file perhaps.
                _keep_origin(path, url, now)
            while piece := answer.read(_PIECE):
                file.write(piece)
                done += len(piece)
                progress(done, total)
                if remote.size and done > remote.size:
                    # Its size is wrong, however much more would come.
                    return True
    return not total or done >= total


def _begins_at(start: int, content_range: str | None) -> bool:
    return content_range is None or content_range.startswith(f"bytes {start}-")


def _origin_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.origin.json")


def _origin(path: Path) -> dict[str, Any]:
    """Where a file, or what is there of it, comes from: ``url`` and ``etag``."""
    file = _origin_file(path)
    try:
        known = load_json(file) if is_file(file) else {}
    except OutskirtsError:
        return {}
    return known if isinstance(known, dict) else {}


def _keep_origin(path: Path, url: str, etag: str | None) -> None:
    if etag:
        save_json(_origin_file(path), {"url": url, "etag": etag})
    else:
        _origin_file(path).unlink(missing_ok=True)


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
