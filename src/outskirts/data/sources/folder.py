"""Image files in a folder per class, or in one folder without classes."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from ...errors import OutskirtsError
from ..imageset import ImageSet
from .spec import source

__all__ = ["folder"]

_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


@source("folder")
def folder(where: Path) -> ImageSet:
    """A folder of class folders, or a flat folder of images, which have no label.

    Classes are the sub-folders in alphabetical order; their images may lie at any depth. Hidden folders and
    files that are not images by their suffix are passed over.
    """
    if not where.is_dir():
        raise OutskirtsError(f"There is no folder {where}.")
    inside = _entries(where)
    loose = [Path(entry.path) for entry in inside if not entry.is_dir() and _is_image(entry.name)]
    classes = sorted(e.name for e in inside if e.is_dir() and not e.name.startswith((".", "__")))
    known: dict[Path, Path] = {where.resolve(): where}
    per_class = [_images(where / name, known) for name in classes]
    if not any(per_class):
        if not loose:
            raise OutskirtsError(f"The folder {where} holds no images ({', '.join(_SUFFIXES)}).")
        return ImageSet(sorted(loose), spec=f"folder:{where}")
    if loose:
        raise OutskirtsError(
            f"The folder {where} holds both class folders and images of no class, such as {min(loose).name}; "
            "move the images into a class folder."
        )
    labels = torch.arange(len(classes)).repeat_interleave(torch.tensor([len(files) for files in per_class]))
    return ImageSet([file for files in per_class for file in files], labels, classes, f"folder:{where}")


def _images(root: Path, known: dict[Path, Path]) -> list[Path]:
    """The images below a folder, at any depth, in alphabetical order.

    Arguments:
        root: The folder.
        known: The folders that were read, by where they really are; those of this one are added.
    """
    if (real := root.resolve()) in known:
        raise OutskirtsError(
            f"The folders {known[real]} and {root} are the same one, by a link; its images would count twice. Remove "
            "the link."
        )
    known[real] = root
    images = []
    for entry in _entries(root):
        if entry.is_dir():
            if not entry.name.startswith("."):
                images += _images(Path(entry.path), known)
        elif _is_image(entry.name):
            images.append(Path(entry.path))
    return sorted(images)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What a folder holds; an error if it cannot be read, where its images would be missing unseen."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise OutskirtsError(f"The folder {folder} cannot be read ({error.strerror}).") from error


def _is_image(name: str) -> bool:
    return name.lower().endswith(_SUFFIXES) and not name.startswith(".")
