"""Images of any kind that a guard is shown, as an image set."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from ..data.imageset import ImageSet
from ..data.sources import open_split
from ..errors import OutskirtsError
from ..files import home_expanded, is_file
from ..texts import counted

__all__ = ["Images", "opened"]

#: An image set, its spec, a path, a pattern of paths, a picture, pixels [H, W] or [H, W, 3], or a list of these.
Images: TypeAlias = ImageSet | str | Path | Image.Image | np.ndarray[Any, Any] | Sequence[Any]


def opened(images: Images) -> ImageSet:
    """An image set of whatever a guard is shown.

    Files that are named one by one are all read, whatever they are called: what is no image is told when it is.

    Arguments:
        images: An image set; the spec of one, such as ``folder:photos/new``; the path of a picture or of a folder; a
            pattern such as ``photos/*.jpg``; a picture of Pillow; pixels [H, W] or [H, W, 3]; or a list of paths,
            pictures and pixels.

    Raises:
        OutskirtsError: If there is no such image.
    """
    if isinstance(images, ImageSet):
        return images
    if isinstance(images, str | Path):
        return _named(images)
    several: list[Any] = [images] if isinstance(images, Image.Image | np.ndarray) else list(images)
    if not several:
        raise OutskirtsError("There is no image to look at.")
    if all(isinstance(one, str | Path) for one in several):
        sets = [_named(one) for one in several]
        return sets[0] if len(sets) == 1 else _joined(sets)
    return ImageSet([Path(one) if isinstance(one, str) else one for one in several], spec="")


def _named(text: str | Path) -> ImageSet:
    """The images that a path, a pattern or a spec names."""
    path = home_expanded(text)
    if is_file(path) and path.suffix.lower() not in _STORES:
        return ImageSet([path], spec=str(path))
    if not path.exists() and glob.has_magic(str(text)) and ":" not in str(text):
        found = sorted(Path(one) for one in glob.glob(str(path), recursive=True) if Path(one).is_file())
        if not found:
            raise OutskirtsError(f"No file has a name like {text}.")
        return ImageSet(found, spec=str(text))
    return open_split(text, "test")


#: Files that hold many images, which a spec opens.
_STORES = (".npy", ".npz", ".parquet", ".csv", ".tsv", ".zip", ".tar")


def _joined(sets: Sequence[ImageSet]) -> ImageSet:
    """Several sets one after the other, without labels."""
    items = [one.items[row] for one in sets for row in one.index.tolist()]
    if any(not isinstance(item, Path) for item in items):
        raise OutskirtsError("Only paths and folders of image files can be put together; name one such set at a time.")
    return ImageSet(items, spec=f"{counted(len(items), 'file')}")
