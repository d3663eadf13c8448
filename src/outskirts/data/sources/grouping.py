"""Groups of images, such as those of a patient, a place or a burst, which no split parts."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from ...errors import OutskirtsError
from ..attribute import Attribute
from ..decode import Items
from ..imageset import SUBSET, ImageSet
from .labels import IN_PATH, finder, named

__all__ = ["by_column", "by_path"]


def by_column(name: str, values: Sequence[str], where: str) -> Attribute:
    """The groups that a column names.

    Arguments:
        name: The column.
        values: What it says of each image, [N]; empty where it says nothing.
        where: How errors call the store.
    """
    if "" in values:
        raise OutskirtsError(
            f"The column '{name}' of {where} is empty in row {values.index('') + 1} of the chosen rows; every image "
            "needs a group."
        )
    index, names = named(values)
    return Attribute(name, tuple(names), index)


def by_path(images: ImageSet, text: str, base: Path | None) -> ImageSet:
    """The same images, with the groups that a pattern finds in their paths.

    Arguments:
        images: Images that are files, or are stored with a path.
        text: ``path:PATTERN``, a regular expression. Its first group is what names the group, or all that it matches.
        base: The folder that paths start from.

    Raises:
        OutskirtsError: If the text is no such pattern, the images have no paths, or a path does not match.
    """
    spec = images.spec.removesuffix(SUBSET)
    if not text.startswith(IN_PATH):
        raise OutskirtsError(
            f"{spec} has no column '{text}'; write group=path:PATTERN, a regular expression that finds the "
            "group in the path of each image."
        )
    pattern = finder(text.removeprefix(IN_PATH))
    names = []
    for row in images.index.tolist():
        path = _path(images.items, row, base, spec)
        match = pattern.search(path)
        name = match and match[min(1, pattern.groups)]
        if not name:
            raise OutskirtsError(
                f"'{pattern.pattern}' finds no group in the path '{path}' of {spec}; choose a pattern that is "
                "in the path of every image."
            )
        names.append(name)
    index, found = named(names)
    grouped = images.subset(range(len(images)))
    grouped.group = Attribute(text, tuple(found), index)
    return grouped


def _path(items: Items, row: int, base: Path | None, spec: str) -> str:
    """The path of a stored image, relative to a folder if it is in it."""
    stored = getattr(items, "path", None)
    item = stored(row) if callable(stored) else items[row]
    if isinstance(item, str) and item:
        return item
    if not isinstance(item, PathLike):
        raise OutskirtsError(f"The images of {spec} have no paths that a pattern could find their groups in.")
    path = Path(item)
    return (path.relative_to(base) if base is not None and path.is_relative_to(base) else path).as_posix()
