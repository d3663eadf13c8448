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
    loose = [Path(entry.path) for entry in os.scandir(where) if entry.is_file() and _is_image(entry.name)]
    classes = sorted(e.name for e in os.scandir(where) if e.is_dir() and not e.name.startswith((".", "__")))
    per_class = [_images(where / name) for name in classes]
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


def _images(root: Path) -> list[Path]:
    walk = os.walk(root, followlinks=True)
    return sorted(Path(parent, name) for parent, _, names in walk for name in names if _is_image(name))


def _is_image(name: str) -> bool:
    return name.lower().endswith(_SUFFIXES) and not name.startswith(".")
