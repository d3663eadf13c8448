"""Arrays of pixels in NumPy's files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import OutskirtsError, unknown
from ..imageset import ImageSet
from ..npy import mapped, reading_arrays
from ..pixel_array import Channels, checked_pixels
from .labels import class_indices
from .spec import source

__all__ = ["npy", "npz"]

_IMAGES = ("images", "x", "data")
_LABELS = ("labels", "y")


@source("npz")
def npz(where: Path, images: str | None = None, labels: str | None = None, channels: str | None = None) -> ImageSet:
    """An ``.npz`` file: images under `images`, `x` or `data`, or as its only array of pixels.

    Arguments:
        where: The file.
        images: The key of the images, if it is another.
        labels: The key of the labels; `labels` or `y`, where there is one, unless given.
        channels: Positions of the 1 or 3 channels to take, counted from 0, such as 0,3,2; all unless given.
    """
    with reading_arrays(where), where.open("rb") as stream:
        file = np.load(stream, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise OutskirtsError(f"{where} is an .npy file; write npy:{where}.")
        for key in (images, labels):
            if key is not None and key not in file.files:
                raise unknown("array", key, file.files, f"in {where}")
        image_key = images or next((k for k in _IMAGES if k in file.files), None) or _sole(file, where)
        label_key = labels or next((k for k in _LABELS if k in file.files), None)
        array, values = file[image_key], None if label_key is None else file[label_key]
    stored = _chosen(array, channels, f"{where} ['{image_key}']")
    return _image_set(stored, values, f"The labels ['{label_key}'] of {where}", f"npz:{where}")


@source("npy")
def npy(where: Path, labels: Path | None = None, channels: str | None = None) -> ImageSet:
    """An ``.npy`` file of images, mapped into memory rather than read.

    Arguments:
        where: The file.
        labels: An ``.npy`` file of their labels.
        channels: Positions of the 1 or 3 channels to take, counted from 0, such as 0,3,2; all unless given.
    """
    values = None if labels is None else mapped(labels)
    return _image_set(_chosen(mapped(where), channels, str(where)), values, f"The labels {labels}", f"npy:{where}")


def _chosen(array: Any, channels: str | None, name: str) -> NDArray[Any] | Channels:
    return checked_pixels(array, name) if channels is None else Channels(array, channels, name)


def _image_set(stored: NDArray[Any] | Channels, values: Any, labels_name: str, spec: str) -> ImageSet:
    labels = None if values is None else class_indices(values, len(stored), labels_name)
    return ImageSet(stored, labels, spec=spec)


def _sole(file: Any, where: Path) -> str:
    shaped = [key for key in file.files if file[key].dtype.kind in "uif" and file[key].ndim in (3, 4)]
    candidates = [key for key in shaped if file[key].dtype == np.uint8] or shaped
    if len(candidates) != 1:
        raise OutskirtsError(
            f"{where} has the arrays {', '.join(file.files)}, none of them called images, x or data; "
            "name the one that holds the images with ?images=KEY."
        )
    return candidates[0]
