"""Archives from the net: unpacked within a limit, and never outside of their folder."""

from __future__ import annotations

import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Protocol, Self

from ..errors import OutskirtsError, reason
from ..files import reading, writing

__all__ = ["DAMAGE", "ENCRYPTED", "CheckedHeader", "unpack"]

#: Bytes that any archive may unpack to, and the multiple of its own size that larger ones may.
_ALWAYS = 2**30
_FACTOR = 20
#: Files that an archive may hold.
_MOST_FILES = 5_000_000
_PIECE = 2**20
ENCRYPTED = 0x1
DAMAGE = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, ValueError, RuntimeError)


class _Open(Protocol):
    def __call__(self) -> IO[bytes] | None: ...


class CheckedHeader(tarfile.TarInfo):
    """What stands before a file in a tar file. The library would take a damaged or missing one for the end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                raise  # This is the end.
            raise tarfile.ReadError(str(error)) from error


def unpack(archive: Path, folder: Path, size: int | None = None) -> None:
    """Unpack a zip or tar file into a folder that appears when all is there; nothing can land outside of it.

    Arguments:
        archive: The archive.
        folder: Where its content goes.
        size: Bytes that it may unpack to. Default: 20 times its own, and at least 1 GiB.

    Raises:
        OutskirtsError: If it is damaged, encrypted, larger than that, of more than five million files, or holds a link
            or a path outside of it; nothing is left then.
    """
    scratch = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(scratch, ignore_errors=True)
    with writing(folder):
        scratch.mkdir(parents=True)
        try:
            with reading(archive):
                left = size if size is not None else max(_ALWAYS, _FACTOR * archive.stat().st_size)
            _unpack(archive, scratch, left)
            os.replace(scratch, folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _unpack(archive: Path, scratch: Path, most: int) -> None:
    left = most
    with _opened(archive) as members:
        for count, (name, is_folder, open_member) in enumerate(members, start=1):
            if count > _MOST_FILES:
                raise OutskirtsError(f"{archive} holds more than {_MOST_FILES:,} files; unpack it by hand if it may.")
            place = scratch / _inside(name, is_folder, archive)
            if is_folder:
                place.mkdir(parents=True, exist_ok=True)
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            source = open_member()
            assert source is not None
            with source, place.open("wb") as file:
                while piece := source.read(_PIECE):
                    left -= len(piece)
                    if left < 0:
                        raise OutskirtsError(
                            f"{archive} unpacks to more than the {most:,} bytes that it may have, so it may be made to "
                            "fill the disk; unpack it by hand if you trust it."
                        )
                    file.write(piece)


@contextmanager
def _opened(archive: Path) -> Iterator[Iterator[tuple[str, bool, _Open]]]:
    """What an archive holds: names, whether each is a folder, and what opens it."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as packed:
                yield _of_zip(packed, archive)
        else:
            with tarfile.open(archive, tarinfo=CheckedHeader) as packed_tar:
                yield _of_tar(packed_tar, archive)
    except (*DAMAGE, OSError) as error:
        # The system numbers its errors; the readers of compressed streams do not.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise OutskirtsError(
            f"{archive} is damaged, or is not an archive that is known here ({reason(error)}). Known are zip, tar, "
            "tar.gz and tar.xz. Remove it, and fetch it again."
        ) from error


def _of_zip(packed: zipfile.ZipFile, archive: Path) -> Iterator[tuple[str, bool, _Open]]:
    for info in packed.infolist():
        if info.flag_bits & ENCRYPTED:
            raise OutskirtsError(f"{archive} is encrypted; unpack it by hand, with its password.")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise _link(info.filename, archive)
        # The library's own question fails at a name without a letter.
        yield info.filename, info.filename.endswith("/"), lambda info=info: packed.open(info)


def _of_tar(packed: tarfile.TarFile, archive: Path) -> Iterator[tuple[str, bool, _Open]]:
    for member in packed:
        if not (member.isreg() or member.isdir()):
            raise _link(member.name, archive)
        yield member.name, member.isdir(), lambda member=member: packed.extractfile(member)
    # The checksum of a compressed stream stands at its end, after that of the archive.
    while packed.fileobj is not None and packed.fileobj.read(_PIECE):
        pass


def _link(name: str, archive: Path) -> OutskirtsError:
    return OutskirtsError(f"{archive} holds a link or a device ({name}); only files and folders are unpacked.")


def _inside(name: str, is_folder: bool, archive: Path) -> PurePosixPath:
    """A member's path, if that is in the folder."""
    path = PurePosixPath(name.lstrip("/"))
    if not (path.parts or is_folder):
        raise OutskirtsError(f"{archive} is damaged: it holds a file without a name. Remove it, and fetch it again.")
    if ".." in path.parts:
        raise OutskirtsError(f"{archive} holds the path {name!r}, which would be outside of its folder.")
    return path
