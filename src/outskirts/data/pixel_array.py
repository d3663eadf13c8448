"""Arrays of pixels as image sets hold them, whatever numbers and whatever order of axes a user has them in."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import OutskirtsError
from .decode import MIN_SIDE
from .reading import require_numbers

__all__ = ["Channels", "checked_pixels"]


def checked_pixels(array: Any, where: str) -> NDArray[Any]:
    """Check an array of images and return it as [N, H, W] or [N, H, W, C] with C = 1 or 3; its numbers stay.

    Arguments:
        array: Integers or floating-point numbers; also [N, C, H, W], where the shape leaves no doubt.
        where: How errors call it.

    Raises:
        OutskirtsError: If the numbers or the shape are of no images; the message says what would be.
    """
    array = _numbers(array, where)
    if array.ndim == 4 and array.shape[3] not in (1, 3):
        if array.shape[1] not in (1, 3):
            alpha = ", or drop the alpha channel" if 4 in (array.shape[1], array.shape[3]) else ""
            raise OutskirtsError(
                f"{where} has the shape {array.shape}; images have 1 or 3 channels. Choose some{alpha}: "
                "?channels=0,1,2 after the file's name, or in Python images[..., [0, 1, 2]]."
            )
        array = np.moveaxis(array, 1, 3)
    _require_sides(array.shape[1:3], where)
    return array.squeeze(3) if array.ndim == 4 and array.shape[3] == 1 else array


class Channels:
    """Images of some channels of an array, [H, W] or [H, W, 3] each, read from it when one is asked for.

    Arguments:
        array: [N, H, W, C], or [N, C, H, W] with fewer channels than pixels on a side; integers or floats.
        channels: Positions of 1 or 3 channels with commas, counted from 0.
        where: How errors call it.

    Raises:
        OutskirtsError: If the array has no such channels, or holds no images.
    """

    def __init__(self, array: Any, channels: str, where: str) -> None:
        array = _numbers(array, where)
        if array.ndim != 4:
            raise OutskirtsError(f"{where} has the shape {array.shape}, without channels; leave out channels=.")
        self.array = np.moveaxis(array, 1, 3) if array.shape[1] < min(array.shape[2:]) else array
        _require_sides(self.array.shape[1:3], where)
        count, parts = self.array.shape[3], channels.split(",")
        if len(parts) not in (1, 3) or not all(part.strip().isdecimal() for part in parts):
            raise OutskirtsError(
                f"channels={channels} is not 1 or 3 positions with commas, counted from 0, such as 0,1,2."
            )
        self.positions = [int(part) for part in parts]
        if max(self.positions) >= count:
            raise OutskirtsError(
                f"{where} has {count} channels, counted from 0; channels={channels} is not among them."
            )

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, row: int, /) -> NDArray[Any]:
        pixels = np.asarray(self.array[row])[..., self.positions]
        return pixels[..., 0] if len(self.positions) == 1 else pixels


def _numbers(array: Any, where: str) -> NDArray[Any]:
    """An array of images whose numbers can be pixels."""
    array = np.asanyarray(array)
    if array.ndim not in (3, 4):
        raise OutskirtsError(f"{where} has the shape {array.shape}; images are [N, H, W] or [N, H, W, C].")
    if not len(array):
        raise OutskirtsError(f"{where} holds no images.")
    require_numbers(array, where)
    return array


def _require_sides(sides: tuple[int, ...], where: str) -> None:
    if min(sides) < MIN_SIDE:
        raise OutskirtsError(
            f"{where} has images of {sides[1]}x{sides[0]} pixels; each side needs at least {MIN_SIDE}."
        )
