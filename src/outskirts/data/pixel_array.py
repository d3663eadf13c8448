"""Arrays of pixels as image sets hold them: uint8, whatever a user has them in."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import OutskirtsError
from .decode import MIN_SIDE, as_uint8

__all__ = ["checked_pixels"]


def checked_pixels(array: Any, where: str) -> NDArray[np.uint8]:
    """Check an array of images and return it as uint8 [N, H, W] or [N, H, W, C] with C = 1 or 3.

    Arguments:
        array: uint8, or floating point from 0 to 1; also [N, C, H, W], where the shape leaves no doubt.
        where: How errors call it.

    Raises:
        OutskirtsError: If the numbers or the shape are of no images; the message says how to convert them.
    """
    array = np.asanyarray(array)
    if array.ndim not in (3, 4):
        raise OutskirtsError(f"{where} has the shape {array.shape}; images are [N, H, W] or [N, H, W, C].")
    if not len(array):
        raise OutskirtsError(f"{where} holds no images.")
    if array.ndim == 4 and array.shape[3] not in (1, 3):
        if array.shape[1] not in (1, 3):
            alpha = "; drop the alpha channel: images[..., :3]" if 4 in (array.shape[1], array.shape[3]) else ""
            raise OutskirtsError(f"{where} has the shape {array.shape}; images have 1 or 3 channels{alpha}.")
        array = np.moveaxis(array, 1, 3)
    if min(array.shape[1:3]) < MIN_SIDE:
        raise OutskirtsError(
            f"{where} has images of {array.shape[2]}x{array.shape[1]} pixels; each side needs at least {MIN_SIDE}."
        )
    array = as_uint8(array, where)
    return array.squeeze(3) if array.ndim == 4 and array.shape[3] == 1 else array
