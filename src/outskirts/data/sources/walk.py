"""The image files below a folder, and what lies beside them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ...errors import OutskirtsError
from .image_names import START, PassedOver, is_system_folder

__all__ = ["Walk", "folders", "holds_image"]


class Walk:
    """Reads folders, each of them once, and counts the files that it passes over.

    Arguments:
        root: The folder that all others lie in.
    """

    def __init__(self, root: Path) -> None:
        self.passed_over = PassedOver()
        #: The folders that were read, by where they really are.
        self._known: dict[Path, Path] = {}
        self._enter(root)

    def _enter(self, folder: Path) -> None:
        if (real := folder.resolve()) in self._known:
            raise OutskirtsError(
                f"The folders {self._known[real]} and {folder} are the same one, by a link; its images would count "
                "twice. Remove the link."
            )
        self._known[real] = folder

    def content(self, folder: Path) -> tuple[list[Path], list[Path]]:
        """The folders and the images in a folder, in no order; an error if it cannot be read."""
        inside, images = [], []
        for entry in _entries(folder):
            path = Path(entry.path)
            if entry.is_dir():
                if is_system_folder(entry.name):
                    self.skip(path)
                else:
                    inside.append(path)
            elif self.passed_over.is_image(entry.name, partial(_start, entry)):
                images.append(path)
        return inside, images

    def skip(self, folder: Path) -> None:
        """Pass over a folder with all that is in it."""
        self.passed_over.add_folder(folder.name, sum(len(files) for _, _, files in os.walk(folder)))

    def images(self, folder: Path) -> list[Path]:
        """The images below a folder, at any depth, in alphabetical order."""
        self._enter(folder)
        inside, images = self.content(folder)
        for deeper in inside:
            images += self.images(deeper)
        return sorted(images)


def folders(where: Path) -> list[Path]:
    """The folders in a folder, in alphabetical order, but for those that systems make."""
    return sorted(Path(e.path) for e in _entries(where) if e.is_dir() and not is_system_folder(e.name))


def holds_image(folder: Path) -> bool:
    """Whether there is an image below a folder; the search ends at the first."""
    return any(_found(folder, set()))


def _found(folder: Path, known: set[Path]) -> Iterator[bool]:
    if (real := folder.resolve()) in known:
        return
    known.add(real)
    tell, inside = PassedOver(), []
    for entry in _entries(folder):
        if entry.is_dir():
            inside.append(entry)
        else:
            yield tell.is_image(entry.name, partial(_start, entry))
    for entry in inside:
        if not is_system_folder(entry.name):
            yield from _found(Path(entry.path), known)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What a folder holds; an error if it cannot be read, where its images would be missing unseen."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise OutskirtsError(f"The folder {folder} cannot be read ({error.strerror}).") from error


def _start(entry: os.DirEntry[str]) -> bytes:
    if not entry.is_file():  # Of a pipe, no byte may ever come.
        raise OSError("it is not a regular file")
    with open(entry.path, "rb", buffering=0) as file:
        return file.read(START)
