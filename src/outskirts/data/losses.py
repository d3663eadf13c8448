"""What images lose on their way to a network: ends that a crop cuts off, and the range that others have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import OutskirtsError
from ..files import is_file, load_json, save_json
from ..texts import verb
from .decode import Altered, Item
from .reading import Reading

__all__ = ["Losses", "loss_of"]

#: What one image may lose; an image that was decoded has the first bit.
_DECODED, _ENDS, _BEYOND, _RANGE = 1, 2, 4, 8

#: The share of an image that may be lost without a word.
_TOLERATED = 0.1


def loss_of(item: Item, pixels: NDArray[Any], reading: Reading) -> int:
    """What an image loses, as bits.

    Arguments:
        item: The stored image.
        pixels: The pixels as they are stored, [H, W] or [H, W, C].
        reading: How they become bytes.
    """
    shorter, longer = sorted(pixels.shape[:2])
    ends = _ENDS if shorter < (1 - _TOLERATED) * longer else 0
    if not isinstance(reading.levels, tuple) or isinstance(item, Altered):
        return _DECODED | ends
    if pixels.dtype == np.uint8:
        return _DECODED | ends | _RANGE
    return _DECODED | ends | (_BEYOND if reading.beyond(pixels) > _TOLERATED else 0)


@dataclass(frozen=True)
class Losses:
    """How many images of a set lose much.

    Arguments:
        images: Number of images that have been decoded.
        ends: Number of those that lose more than a tenth to a crop to a square.
        beyond: Number of those with more than a tenth of the pixels beyond the levels.
        range: Number of those of 8 bits, where there are levels, which these do not have.

    >>> print(*Losses(900, ends=412).sentences("images of fog", 900, "crop"))
    Of the 900 images of fog, 412 lose more than a tenth to the crop; --fit squash or --fit pad shows all.
    """

    images: int
    ends: int = 0
    beyond: int = 0
    range: int = 0

    @classmethod
    def of(cls, lost: NDArray[np.uint8]) -> Self:
        """The numbers of what `loss_of` has said of images; zeros are images that have not been decoded."""
        return cls(*(int(((lost & bit) > 0).sum()) for bit in (_DECODED, _ENDS, _BEYOND, _RANGE)))

    def save(self, file: Path) -> None:
        """Write the numbers, if any image loses much."""
        if self.ends or self.beyond or self.range:
            save_json(file, asdict(self))

    @classmethod
    def load(cls, file: Path) -> Self | None:
        """What `save` has written; None where there is no file.

        Raises:
            OutskirtsError: If the file is damaged.
        """
        if not is_file(file):
            return None
        try:
            return cls(**load_json(file, dict.fromkeys(("images", "ends", "beyond", "range"), int)))
        except (OutskirtsError, TypeError) as error:
            raise OutskirtsError(f"{error} Delete the file; then nothing is said of what images lose.") from error

    def sentences(self, name: str, total: int, fit: Literal["crop", "squash", "pad"]) -> Iterator[str]:
        """What a reader of the results should know.

        Arguments:
            name: What the images are called.
            total: Number of images of the set.
            fit: How images that are not square fit.
        """
        some = "" if self.images == total else f" {self.images:,} of"
        which = f"Of{some} the {total:,} {name},"
        if self.ends and fit == "crop":
            yield (
                f"{which} {self.ends:,} {verb(self.ends, 'lose')} more than a tenth to the crop; --fit squash or "
                "--fit pad shows all."
            )
        if self.beyond:
            yield (
                f"{which} {self.beyond:,} {verb(self.beyond, 'have')} more than a tenth of the pixels beyond the range "
                "of the training images, where they are cut off."
            )
        if self.range:
            yield (
                f"{which} {self.range:,} {verb(self.range, 'have')} 8 bits, unlike the training images whose range was "
                "measured; they are shown as they are, and may differ by that alone."
            )
