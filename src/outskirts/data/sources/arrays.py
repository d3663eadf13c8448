"""Arrays of pixels in NumPy's files."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import OutskirtsError, unknown
from ..decode import MIN_SIDE
from ..imageset import ImageSet
from .labels import class_indices
from .spec import source

__all__ = ["checked_pixels", "mapped", "npy", "npz"]

_IMAGES = ("images", "x", "data")
_LABELS = ("labels", "y")


@source("npz")
def npz(where: Path, images: str | None = None, labels: str | None = None) -> ImageSet:
    """An ``.npz`` file: uint8 images under `images`, `x` or `data`, or as its only array of pixels.

    Arguments:
        where: The file.
        images: The key of the images, if it is another.
        labels: The key of the labels; `labels` or `y`, where there is one, unless given.
    """
    with _reading(where), where.open("rb") as stream:
        file = np.load(stream, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise OutskirtsError(f"{where} is an .npy file; write npy:{where}.")
        for key in (images, labels):
            if key is not None and key not in file.files:
                raise unknown(f"array in {where}", key, file.files)
        image_key = images or next((k for k in _IMAGES if k in file.files), None) or _sole(file, where)
        label_key = labels or next((k for k in _LABELS if k in file.files), None)
        array, values = file[image_key], None if label_key is None else file[label_key]
    checked = checked_pixels(array, f"{where} ['{image_key}']")
    return _image_set(checked, values, f"The labels ['{label_key}'] of {where}", f"npz:{where}")


@source("npy")
def npy(where: Path, labels: Path | None = None) -> ImageSet:
    """An ``.npy`` file of uint8 images, mapped into memory rather than read.

    Arguments:
        where: The file.
        labels: An ``.npy`` file of their labels.
    """
    values = None if labels is None else mapped(labels)
    return _image_set(checked_pixels(mapped(where), str(where)), values, f"The labels {labels}", f"npy:{where}")


def checked_pixels(array: Any, where: str) -> NDArray[np.uint8]:
    """Check an array of images and return it as uint8 [N, H, W] or [N, H, W, C] with C = 1 or 3.

    Arguments:
        array: Also [N, C, H, W], where the shape leaves no doubt.
        where: How errors call it.
    """
    array = np.asanyarray(array)
    if array.ndim not in (3, 4):
        raise OutskirtsError(f"{where} has the shape {array.shape}; images are [N, H, W] or [N, H, W, C].")
    if array.dtype != np.uint8:
        raise OutskirtsError(f"{where} holds {array.dtype}; images must be uint8: {_remedy(array)}.")
    if array.ndim == 4 and array.shape[3] not in (1, 3):
        if array.shape[1] not in (1, 3):
            alpha = "; drop the alpha channel: images[..., :3]" if 4 in (array.shape[1], array.shape[3]) else ""
            raise OutskirtsError(f"{where} has the shape {array.shape}; images have 1 or 3 channels{alpha}.")
        array = np.moveaxis(array, 1, 3)
    if not len(array):
        raise OutskirtsError(f"{where} holds no images.")
    if min(array.shape[1:3]) < MIN_SIDE:
        raise OutskirtsError(
            f"{where} has images of {array.shape[2]}x{array.shape[1]} pixels; each side needs at least {MIN_SIDE}."
        )
    return array.squeeze(3) if array.ndim == 4 and array.shape[3] == 1 else array


def _image_set(stored: NDArray[np.uint8], values: Any, labels_name: str, spec: str) -> ImageSet:
    labels = None if values is None else class_indices(values, len(stored), labels_name)
    return ImageSet(stored, labels, spec=spec)


def mapped(path: Path) -> Any:
    """The array in an ``.npy`` file, read as it is used."""
    with _reading(path):
        if zipfile.is_zipfile(path):
            raise OutskirtsError(f"{path} is an .npz file; write npz:{path}.")
        return np.load(path, mmap_mode="r", allow_pickle=False)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what NumPy raises on a missing or damaged file into a sentence."""
    try:
        yield
    except FileNotFoundError as error:
        raise OutskirtsError(f"There is no file {path}.") from error
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise OutskirtsError(f"{path} is damaged, or not a file of NumPy arrays ({error}).") from error


def _sole(file: Any, where: Path) -> str:
    candidates = [key for key in file.files if file[key].dtype == np.uint8 and file[key].ndim in (3, 4)]
    if len(candidates) != 1:
        raise OutskirtsError(
            f"{where} has the arrays {', '.join(file.files)}, none of them called images, x or data; "
            "name the one that holds the images with ?images=KEY."
        )
    return candidates[0]


def _remedy(array: NDArray[Any]) -> str:
    if not np.issubdtype(array.dtype, np.floating):
        return "convert values of 0 to 255 with images.astype('uint8')"
    scaled = array.size and float(array[: 2**20 // array[0].size + 1].max()) <= 1
    return "save (images * 255).round().astype('uint8')" if scaled else "save images.round().astype('uint8')"
