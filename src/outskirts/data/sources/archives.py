"""Images in zip files, and in tar files such as the shards of webdataset."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath

from torch import Tensor

from ...errors import OutskirtsError
from ...files import is_file
from ...texts import listed
from ..imageset import ImageSet
from ..packed import NO_FILE, Member, Packed, members, read_member
from .image_names import START, PassedOver, is_system_folder
from .labels import named_in_order
from .spec import source
from .splits import names_split
from .webdataset import LABEL_PARTS, key_and_part, label_of, labels_of, require_one_image

__all__ = ["wds", "zipped"]

#: Archives that a pattern may stand for.
_MOST_ARCHIVES = 100_000

_BRACES = re.compile(r"\{(\d{1,9})\.\.(\d{1,9})\}|\{([^{}]*,[^{}]*)\}")


@source("wds")
def wds(where: Path, inside: str | None = None, image: str | None = None) -> ImageSet:
    """Images in tar files that are not compressed, such as the shards of webdataset; nothing is unpacked to disk.

    The label of an image is in the file beside it that is called alike and ends in ``.cls`` (a number or a name), or in
    ``.json`` under the key ``label``. Where there are no such files, folders in the archive are the classes.

    Arguments:
        where: A file, or a pattern such as ``train-*.tar`` or ``train-{000..127}.tar``.
        inside: A folder in the archive, of which alone images are taken.
        image: Which image of a sample that has several: what its name ends in after the first dot, such as ``jpg``.
    """
    return _image_set(where, inside, image, "wds")


@source("zip")
def zipped(where: Path, inside: str | None = None) -> ImageSet:
    """Images in a zip file, whose folders are the classes; nothing is unpacked to disk.

    Arguments:
        where: A file, or a pattern such as ``photos-*.zip``.
        inside: A folder in the archive, of which alone images are taken.
    """
    return _image_set(where, inside, None, "zip")


@dataclass
class _Content:
    """What some archives hold.

    Arguments:
        images: The images, each with the number of its archive.
        labels: Labels from files beside images, by archive and sample.
        passed_over: Counts other files.
    """

    images: list[tuple[int, Member]] = field(default_factory=list)
    labels: dict[tuple[int, str], str] = field(default_factory=dict)
    passed_over: PassedOver = field(default_factory=PassedOver)


def _image_set(where: Path, inside: str | None, image: str | None, kind: str) -> ImageSet:
    archives = _archives(where)
    content = _read(archives, PurePosixPath(inside or "").parts, image, kind)
    note = content.passed_over.note()
    if not content.images:
        raise OutskirtsError(f"{where} holds no images{f' in {inside}' if inside else ''}. {note}".rstrip())
    labels, classes = _labels(content, where, f"{kind}:{where}")
    return ImageSet(Packed(archives, content.images), labels, classes, f"{kind}:{where}", note)


def _labels(content: _Content, where: Path, spec: str) -> tuple[Tensor | None, list[str]]:
    """Labels from files beside the images; where there are none, from folders."""
    texts = [content.labels.get((archive, key_and_part(member.name)[0])) for archive, member in content.images]
    if not any(texts):
        return _by_folder([member.name for _, member in content.images], where)
    require_one_image([f"{archive}:{member.name}" for archive, member in content.images], spec)
    return labels_of(texts, f"The labels of {spec}")


def _read(archives: list[Path], inside: tuple[str, ...], image: str | None, kind: str) -> _Content:
    content = _Content()
    for number, archive in enumerate(archives):
        found = list(members(archive))
        # Of files that are called alike, unpacking leaves the last.
        latest = {member.name: member for member in found}
        for _ in range(len(found) - len(latest)):
            content.passed_over.add("that a later one of the same name replaces")
        for member in latest.values():
            *folders, file = PurePosixPath(member.name.lstrip("/")).parts or ("",)
            if tuple(folders[: len(inside)]) != inside:
                continue
            if system := next(filter(is_system_folder, folders), None):
                content.passed_over.add_folder(system, 1)
                continue
            key, part = key_and_part(member.name)
            if member.start == NO_FILE:
                content.passed_over.add("as a link or a device")
            elif kind == "wds" and part in LABEL_PARTS and not file.startswith("."):
                label = label_of(part, Packed([archive], [(0, member)])[0], f"{member.name} in {archive}")
                if label is None:
                    content.passed_over.add("without a label")
                elif part == LABEL_PARTS[0] or (number, key) not in content.labels:
                    content.labels[number, key] = label
            elif content.passed_over.is_image(file, partial(read_member, archive, member, START)):
                if image is None or part == image.lower():
                    content.images.append((number, member))
                else:
                    content.passed_over.add(f"other than .{image}")
    return content


def _by_folder(names: list[str], where: Path) -> tuple[Tensor | None, list[str]]:
    """Labels by the outermost folder that not all images are in; none if they are all in one."""
    paths = [PurePosixPath(name.lstrip("/")).parts for name in names]
    common = _common([path[:-1] for path in paths])
    if all(len(path) == common + 1 for path in paths):
        return None, []
    if loose := next((path for path in paths if len(path) == common + 1), None):
        raise OutskirtsError(
            f"{where} holds both class folders and images of no class, such as {'/'.join(loose)}; choose a folder in "
            "the archive with ?inside=FOLDER."
        )
    labels, classes = named_in_order([path[common] for path in paths])
    if len(classes) > 1 and all(map(names_split, classes)):
        raise OutskirtsError(
            f"{where} holds a set in parts ({listed(classes)}); choose one of them with ?inside="
            f"{'/'.join((*paths[0][:common], classes[0]))}."
        )
    return labels, classes


def _common(folders: list[tuple[str, ...]]) -> int:
    """How many folders all images are in."""
    first, last = min(folders), max(folders)
    return next(
        (place for place, pair in enumerate(zip(first, last)) if pair[0] != pair[1]), min(len(first), len(last))
    )


def _archives(where: Path) -> list[Path]:
    """The archives that a pattern stands for, in alphabetical order; a file that is called so stands for itself."""
    if is_file(where):
        return [where]
    texts = list(islice(_expanded(str(where)), _MOST_ARCHIVES + 1))
    if len(texts) > _MOST_ARCHIVES:
        raise OutskirtsError(f"{where} stands for more than {_MOST_ARCHIVES:,} files; choose fewer.")
    found = []
    for text in texts:
        if not glob.has_magic(text):
            found.append(Path(text))
        elif matching := sorted(glob.glob(text)):
            found += map(Path, matching)
        else:
            raise OutskirtsError(f"There is no file {text}.")
    return found


def _expanded(text: str) -> Iterator[str]:
    """A text for each number or word in its braces."""
    braces = _BRACES.search(text)
    if braces is None:
        yield text
        return
    first, last, words = braces.groups()
    inner = (
        words.split(",")
        if words is not None
        else (str(number).rjust(len(first), "0") for number in range(int(first), int(last) + 1))
    )
    for word in inner:
        yield from _expanded(text[: braces.start()] + word + text[braces.end() :])
