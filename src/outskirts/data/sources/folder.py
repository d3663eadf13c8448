"""Image files in a folder per class, or in one folder without classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from ...errors import OutskirtsError, unknown
from ...texts import joined, listed
from ..imageset import ImageSet
from .labels import in_numeric_order
from .spec import source
from .splits import find_splits, names_split, split_folders
from .walk import Walk, folders

__all__ = ["class_names", "folder"]

#: Orders of class folders, of which the first is that of a text that names none.
_ALPHABETIC, _NUMERIC = "alphabetic", "numeric"


def _choose(role: str, where: Path, split: str | None = None, order: str | None = None) -> dict[str, Any]:
    """The split of a folder that has some, and the order of class folders whose names are all numbers."""
    chosen: dict[str, Any] = {}
    if split is None and (splits := find_splits(where)):
        split = chosen["split"] = role if role in splits else "train"
    if order is None and where.is_dir():
        roots = [where] if split is None else split_folders(where, split)
        if class_names(roots) != class_names(roots, _NUMERIC):
            chosen["order"] = _NUMERIC
    return chosen


def class_names(roots: Sequence[Path], order: str | None = None) -> list[str]:
    """The class folders in some folders, by name, in the order that `folder` has them; no image is looked for."""
    return _ordered({path.name for root in roots for path in folders(root) if _is_class(path)}, order)


def _is_class(path: Path) -> bool:
    return not path.name.startswith("__")


def _ordered(names: Iterable[str], order: str | None) -> list[str]:
    return in_numeric_order(sorted(names)) if order == _NUMERIC else sorted(names)


@source("folder", choose=_choose)
def folder(where: Path, split: str | None = None, order: str | None = None) -> ImageSet:
    """A folder of class folders, or a flat folder of images, which have no label.

    Classes are the sub-folders; their images may lie at any depth, and are in alphabetical order. Images are files with
    the suffix of a format that is read, or files without suffix that begin as one. Hidden folders and other files are
    passed over; the set's note counts them.

    Arguments:
        where: The folder.
        split: With sub-folders such as train, val and test, each with class folders in it: ``train``, ``val``, ``test``
            or ``all``.
        order: The order of the classes: ``alphabetic`` or ``numeric``.
    """
    if not where.is_dir():
        raise OutskirtsError(f"There is no folder {where}.")
    if order not in (None, _ALPHABETIC, _NUMERIC):
        raise unknown("order", str(order), (_ALPHABETIC, _NUMERIC), f"of {where}")
    walk = Walk(where)
    loose, by_class = _read([where] if split is None else split_folders(where, split), walk)
    note = walk.passed_over.note()
    if not any(by_class.values()):
        if not loose:
            raise OutskirtsError(f"The folder {where} holds no images. {note}".rstrip())
        return ImageSet(sorted(loose), spec=f"folder:{where}", note=note)
    if loose:
        raise OutskirtsError(
            f"The folder {where} holds both class folders and images of no class, such as {min(loose).name}; "
            "move the images into a class folder."
        )
    classes = _ordered(by_class, order)
    images = [by_class[name] for name in classes]
    labels = torch.arange(len(classes)).repeat_interleave(torch.tensor([len(files) for files in images]))
    note = joined(_doubtful(by_class, split), _empty(by_class), note)
    return ImageSet([file for files in images for file in files], labels, classes, f"folder:{where}", note)


def _read(roots: Sequence[Path], walk: Walk) -> tuple[list[Path], dict[str, list[Path]]]:
    """The images that lie loose in some folders, and those in the class folders, by the name of the class."""
    loose: list[Path] = []
    by_class: dict[str, list[Path]] = {}
    for root in roots:
        inside, images = walk.content(root)
        loose += images
        for path in sorted(inside):
            if _is_class(path):
                by_class[path.name] = by_class.get(path.name, []) + walk.images(path)
            else:
                walk.skip(path)
    return loose, by_class


def _empty(by_class: dict[str, list[Path]]) -> str:
    names = sorted(name for name, images in by_class.items() if not images)
    return f"There are no images in these class folders: {listed(names)}." if names else ""


def _doubtful(by_class: dict[str, list[Path]], split: str | None) -> str:
    """What to say of classes that are called as the parts of a set."""
    holding = sorted(name for name, images in by_class.items() if images)
    if split is not None or len(holding) < 2 or not all(map(names_split, holding)):
        return ""
    return f"The classes are called {listed(holding)}; if these are parts of a set, name one of them as the folder."
