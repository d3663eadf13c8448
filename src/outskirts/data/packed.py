"""Images in zip and tar files, each read where it lies; nothing is unpacked to disk."""

from __future__ import annotations

import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ..errors import OutskirtsError, reason
from ..files import reading
from .archive import DAMAGE, ENCRYPTED, CheckedHeader
from .decode import CorruptImage

__all__ = ["NO_FILE", "Member", "Packed", "members", "read_member"]

#: How compressed files begin, in which a file has no place of its own.
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
#: What stands before a file in a zip file: so many bytes, and a name and more whose lengths are the last two numbers.
_ZIP_HEADER = 30
#: How the end of a zip file begins, and how many bytes it has at most, with a comment.
_ZIP_LAST, _ZIP_END = b"PK\5\6", 22 + 2**16 - 1
#: Bytes that one image has at most.
_LARGEST = 2**30
#: Where a member begins that has no content.
NO_FILE = -1


class Member(NamedTuple):
    """Where a file lies in an archive.

    Arguments:
        name: Path in the archive.
        start: Where it begins, or in a zip file what stands before it, in bytes; `NO_FILE` for a link or a device.
        stored: Bytes that it takes in the archive.
        size: Bytes of the file itself.
        checksum: CRC-32 of the file in a zip file; None in a tar file.
        deflated: Whether it is compressed.
    """

    name: str
    start: int
    stored: int
    size: int
    checksum: int | None = None
    deflated: bool = False


class Packed:
    """Files in archives, as encoded bytes.

    An archive is opened for each file, so that threads and worker processes share nothing.

    Arguments:
        archives: The archives.
        members: The files, and the number of the archive of each.
    """

    def __init__(self, archives: Sequence[Path], members: Sequence[tuple[int, Member]]) -> None:
        self.archives, self.members = list(archives), list(members)

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, row: int, /) -> bytes:
        archive, member = self.members[row]
        try:
            return read_member(self.archives[archive], member)
        except OSError as error:
            raise CorruptImage(f"{self.name(row)} cannot be read ({error}).") from error

    def name(self, row: int) -> str:
        """What a file is called: the path of its archive and its own."""
        return f"{self.archives[self.members[row][0]]}/{self.path(row)}"

    def path(self, row: int) -> str:
        """The path of a file in its archive."""
        return self.members[row][1].name


def read_member(archive: Path, member: Member, most: int | None = None) -> bytes:
    """The content of a file in an archive.

    Arguments:
        archive: The archive.
        member: The file.
        most: Bytes from the beginning that are needed; all unless given.

    Raises:
        OSError: If it is damaged or too large, or the archive cannot be read.
    """
    if member.size > _LARGEST:
        raise OSError(f"it has {member.size:,} bytes, and at most {_LARGEST:,} are read")
    wanted = member.size if most is None else min(most, member.size)
    try:
        with archive.open("rb") as file:
            start = member.start
            if member.checksum is not None:
                file.seek(start)
                start += _ZIP_HEADER + sum(struct.unpack("<HH", file.read(_ZIP_HEADER)[-4:]))
            file.seek(start)
            content = file.read(member.stored if member.deflated else wanted)
        if member.deflated:
            content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, wanted or 1)
    except (struct.error, zlib.error) as error:
        raise OSError(f"{error}") from error
    if len(content) != wanted:
        raise OSError("the archive ends before it")
    if most is None and member.checksum is not None and zlib.crc32(content) != member.checksum:
        raise OSError("its checksum is wrong")
    return content


def members(archive: Path) -> Iterator[Member]:
    """What is in a zip or an uncompressed tar file, without folders, in its order.

    Raises:
        OutskirtsError: If it is damaged, encrypted or compressed so that no file in it can be read by itself.
    """
    with _damage_told(archive), reading(archive, f"There is no file {archive}."):
        with archive.open("rb") as file:
            start = file.read(6)
        if start.startswith(_COMPRESSED):
            raise OutskirtsError(
                f"{archive} is compressed as a whole, so that no image in it can be read by itself. Unpack it and name "
                "the folder, or pack it again as .tar or .zip."
            )
        yield from _of_zip(archive) if zipfile.is_zipfile(archive) else _of_tar(archive)


def _of_zip(archive: Path) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as packed:
        listed = packed.infolist()
        # The library does not look: a damaged list can seem to end early.
        if (said := _said(archive)) not in (len(listed) % 2**16, 2**16 - 1):
            raise OutskirtsError(f"{archive} is damaged: of {said:,} files, it lists {len(listed):,}.")
        for info in listed:
            if not info.filename or info.is_dir():
                continue
            if stat.S_ISLNK(info.external_attr >> 16):
                yield Member(info.filename, NO_FILE, 0, 0)
                continue
            if info.flag_bits & ENCRYPTED:
                raise OutskirtsError(f"{archive} is encrypted; unpack it with its password, and name the folder.")
            deflated = info.compress_type == zipfile.ZIP_DEFLATED
            if not deflated and info.compress_type != zipfile.ZIP_STORED:
                raise OutskirtsError(
                    f"{info.filename} in {archive} is compressed in a way that is not read; unpack the archive and "
                    "name the folder."
                )
            # Some programs of Windows part folders by its own sign.
            name = info.filename if "/" in info.filename else info.filename.replace("\\", "/")
            yield Member(name, info.header_offset, info.compress_size, info.file_size, info.CRC, deflated=deflated)


def _said(archive: Path) -> int:
    """How many files a zip file says that it has, modulo 65,536; 65,535 where that number stands elsewhere."""
    with archive.open("rb") as file:
        file.seek(-min(_ZIP_END, file.seek(0, os.SEEK_END)), os.SEEK_END)
        end = file.read()
    count: int = struct.unpack_from("<H", end, end.rindex(_ZIP_LAST) + 10)[0]
    return count


def _of_tar(archive: Path) -> Iterator[Member]:
    with tarfile.open(archive, "r:", tarinfo=CheckedHeader) as packed:
        for info in packed:
            if info.issparse():
                raise OutskirtsError(
                    f"{info.name} in {archive} is a sparse file; unpack the archive and name the folder."
                )
            if not info.isdir():
                yield Member(info.name, info.offset_data if info.isreg() else NO_FILE, info.size, info.size)


@contextmanager
def _damage_told(archive: Path) -> Iterator[None]:
    try:
        yield
    except DAMAGE as error:
        raise OutskirtsError(f"{archive} is damaged, or is no zip or tar file ({reason(error)}).") from error
