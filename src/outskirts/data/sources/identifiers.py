"""Identifiers of images, such as ``0001``, and the files that they stand for, such as ``0001.jpg``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePath

from ...errors import OutskirtsError
from .image_names import has_image_suffix

__all__ = ["files_of"]


def files_of(names: Sequence[str], root: Path) -> list[Path]:
    """The file of each image; where a name has no suffix of an image, one with such a suffix stands for it.

    Each folder is listed once. Names of no file stay as they are, and are named when they are decoded.

    Arguments:
        names: Paths, with or without suffix.
        root: The folder that they start from.

    Raises:
        OutskirtsError: If two images are called so, but for the suffix.
    """
    paths = [root / name for name in names]
    bare = {path.parent for name, path in zip(names, paths) if name and not has_image_suffix(name)}
    listings = {folder: _Listing(folder) for folder in bare}
    return [
        listings[path.parent].file(path) if path.parent in bare and not has_image_suffix(path.name) else path
        for path in paths
    ]


class _Listing:
    """The images of a folder by their names without suffix.

    Arguments:
        folder: The folder; nothing is in one that cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self.names = {path.name for path in folder.iterdir()}
        except OSError:
            self.names = set()
        self.by_stem: dict[str, list[str]] = defaultdict(list)
        for name in sorted(filter(has_image_suffix, self.names)):
            self.by_stem[PurePath(name).stem].append(name)

    def file(self, path: Path) -> Path:
        """The file that a path without suffix stands for."""
        found = self.by_stem.get(path.name, [])
        if path.name in self.names or not found:
            return path
        if len(found) > 1:
            raise OutskirtsError(
                f"'{path.name}' may be {' or '.join(found)} in {path.parent}; write the suffixes into the table, or "
                "leave one of the files there."
            )
        return path.with_name(found[0])
