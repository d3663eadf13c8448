"""Images of any kind that a guard is shown, as an image set."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from ..data.imageset import ImageSet
from ..data.sources import open_split
from ..errors import OutskirtsError
from ..files import is_file
from ..paths import home_expanded
from ..texts import counted

__all__ = ["Images", "opened"]

#: An image set, its spec, a path, a pattern of paths, a picture, pixels [H, W] or [H, W, 3], or a list of these.
Images: TypeAlias = ImageSet | str | Path | Image.Image | np.ndarray[Any, Any] | Sequence[Any]

#: Files that hold many images, which a spec opens.
_STORES = (".npy", ".npz", ".parquet", ".csv", ".tsv", ".zip", ".tar")

#: What a pattern of paths does not begin with: ``SCHEME:``, or ``NAME?OPTION=``.
_SPEC = re.compile(r"[^?*\[]*(:|\?\w+=)")


def opened(images: Images) -> ImageSet:
    """An image set of whatever a guard is shown.

    Files that are named one by one are all read, whatever they are called: what is no image, or is not there, is told
    when it is its turn.

    Arguments:
        images: An image set; the spec of one, such as ``folder:photos/new``; the path of a picture or of a folder; a
            pattern such as ``photos/*.jpg``; a picture of Pillow; pixels [H, W] or [H, W, 3], or [N, H, W, 3] of many;
            or a list of paths, or of pictures, pixels and paths of pictures.

    Raises:
        OutskirtsError: If there is no such image, or it is of another kind.
    """
    if isinstance(images, ImageSet):
        return images
    if isinstance(images, str | Path):
        return _named(images)
    if not isinstance(images, Image.Image | np.ndarray | list | tuple):
        raise _other_kind(images)
    several: list[Any]
    if isinstance(images, Image.Image) or (isinstance(images, np.ndarray) and images.ndim != 4):
        several = [images]
    else:
        several = list(images)
    if not several:
        raise OutskirtsError("There is no image to look at.")
    if all(isinstance(one, str | Path) for one in several):
        sets = [_named(one) if len(several) == 1 or not _is_missing(one) else _file(one) for one in several]
        return sets[0] if len(sets) == 1 else _joined(sets)
    return ImageSet([_item(one) for one in several], spec="")


def _item(one: Any) -> Path | Image.Image | np.ndarray[Any, Any]:
    """A picture of a list that does not hold paths alone."""
    if isinstance(one, str | Path):
        path = home_expanded(one)
        if path.is_dir() or _names_more(one):
            raise OutskirtsError(f"{one} is not the path of one picture; in a list of pictures, name each file.")
        return path
    if isinstance(one, np.ndarray):
        if one.ndim not in (2, 3) or (one.ndim == 3 and one.shape[2] not in (1, 3)):
            raise OutskirtsError(
                f"An array of the shape {list(one.shape)} is no picture; pixels are [height, width] or [height, width, "
                "3], and those of several pictures [pictures, height, width, 3]."
            )
        return one
    if isinstance(one, Image.Image):
        return one
    raise _other_kind(one)


def _other_kind(given: Any) -> OutskirtsError:
    remedy = "; pass pixels [height, width, 3] as an array of NumPy" if hasattr(given, "numpy") else ""
    return OutskirtsError(
        "A guard looks at paths, specs, image sets, pictures of Pillow and arrays of NumPy, and lists of pictures, not "
        f"at what is of the type {type(given).__name__}{remedy}."
    )


def _named(text: str | Path) -> ImageSet:
    """The images that a path, a pattern or a spec names."""
    path = home_expanded(text)
    if is_file(path) and path.suffix.lower() not in _STORES:
        return _file(text)
    if not path.exists() and glob.has_magic(str(text)) and not _SPEC.match(str(text)):
        found = sorted(Path(one) for one in glob.glob(str(path), recursive=True) if Path(one).is_file())
        if not found:
            raise OutskirtsError(f"No file has a name like {text}.")
        return ImageSet(found, spec=str(text))
    return open_split(text, "test")


def _file(text: str | Path) -> ImageSet:
    return ImageSet([path := home_expanded(text)], spec=str(path))


def _is_missing(text: str | Path) -> bool:
    """Whether a text is the path of a file that is not there."""
    return not home_expanded(text).exists() and not _names_more(text)


def _names_more(text: str | Path) -> bool:
    """Whether a text is a spec, or a pattern of paths, rather than a path."""
    return not home_expanded(text).exists() and (":" in str(text) or glob.has_magic(str(text)))


def _joined(sets: Sequence[ImageSet]) -> ImageSet:
    """Several sets one after the other, without labels."""
    items = [one.items[row] for one in sets for row in one.index.tolist()]
    if any(not isinstance(item, Path) for item in items):
        raise OutskirtsError("Only paths and folders of image files can be put together; name one such set at a time.")
    return ImageSet(items, spec=f"{counted(len(items), 'file')}")
