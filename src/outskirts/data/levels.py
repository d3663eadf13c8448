"""The range of wide pixels, of more than 8 bits, as training images have it."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..telling import Say, silence
from .decode import Altered, CorruptImage, is_deep, stored_pixels
from .imageset import ImageSet
from .reading import Reading, finite_ends, is_wide
from .selection import evenly_spaced
from .threads import in_order, with_remedy

__all__ = ["measured_reading", "range_of"]

#: Images that are looked at, and pixels of each.
_IMAGES, _PIXELS = 4096, 4096

#: The share of pixels, at each end, that may be far from all others: defects of a sensor.
_TAIL = 0.001


def measured_reading(images: ImageSet, reading: Reading, skip_corrupt: bool = False, say: Say = silence) -> Reading:
    """A reading with the range of training images, where they are wide and it has none.

    At most 4,096 images are looked at, evenly spaced.

    Arguments:
        images: Training images only, or the test set leaks into the transform.
        reading: Says which way up they are, and what becomes of alpha channels.
        skip_corrupt: Leave out images that cannot be decoded.
        say: Told which range becomes 0 to 255.

    Raises:
        OutskirtsError: If an image cannot be decoded, or holds NaN or infinity.
    """
    if reading.levels is not None or not images.pictures:
        return reading
    positions = evenly_spaced(len(images), _IMAGES).tolist()

    def looked_at(i: int) -> tuple[float, float, NDArray[Any]] | None:
        item = images.items[int(images.index[i])]
        if not is_deep(item):
            return None
        try:
            pixels = stored_pixels(item.stored if isinstance(item, Altered) else item, images.name(i), reading)
        except CorruptImage as error:
            if skip_corrupt:
                return None
            raise with_remedy(error) from error
        wide.append(is_wide(pixels))
        return *finite_ends(pixels, images.name(i)), pixels.ravel()[:: -(-pixels.size // _PIXELS)]

    wide: list[bool] = []
    with closing(in_order(looked_at, positions)) as results:
        deep = [found for found in results if found is not None]
    if not any(wide):
        return reading
    least, most = min(found[0] for found in deep), max(found[1] for found in deep)
    low, high = range_of(np.concatenate([found[2] for found in deep]), least, most)
    beyond = "" if (low, high) == (least, most) else f" Pixels beyond, from {least:g} to {most:g}, are cut off."
    say(
        f"The training images have more than 8 bits: pixels from {low:g} to {high:g} become 0 to 255, of all images "
        f"alike.{beyond}"
    )
    return replace(reading, levels=(low, high))


def range_of(pixels: NDArray[Any], least: float, most: float) -> tuple[float, float]:
    """The range of pixels, but for the few that are far from all others.

    It goes from the smallest to the largest, and no farther from the middle 99.8 % than these are wide. A single hot
    pixel therefore takes at most two thirds of the levels from all others.

    Arguments:
        pixels: Some of the pixels, [n].
        least, most: The smallest and the largest of all.

    >>> range_of(np.array([*range(1000, 2000), 65535]), 1000, 65535)
    (1000.0, 2997.0)
    """
    low, high = np.quantile(pixels.astype(np.float64), [_TAIL, 1 - _TAIL], method="nearest").tolist()
    if high > low:
        width = high - low
        least, most = max(least, low - width), min(most, high + width)
    return float(least), float(most if most > least else least + 1)
