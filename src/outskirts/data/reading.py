"""How stored pixels become bytes: which way up, on which background, and from which range."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from ..contents import misfit
from ..errors import OutskirtsError, unknown

__all__ = ["FIRST", "SHOWN", "USUAL", "Reading", "finite_ends", "is_wide", "require_numbers"]


@dataclass(frozen=True)
class Reading:
    """How the stored pixels of an image become bytes.

    Pixels of 8 bits stay as they are. All others (integers of more bits, and floating-point numbers) are wide: a range
    of them becomes 0 to 255. Floats from 0 to 1 need no such range, and become 0 to 255 where there is none.

    Arguments:
        upright: Whether the orientation in EXIF data is applied.
        background: The grey level, from 0 to 255, that transparent pixels are laid on; None drops the alpha channel.
        levels: The two ends of the range of wide pixels that becomes 0 to 255, linearly; what is beyond is cut off.
            None refuses wide pixels. ``own`` takes the range of each image, to look at it alone. ``high byte`` is what
            version 0.1 did: of 16 bits the higher 8.

    >>> Reading(levels=(1000, 1510)).bytes_of(np.array([[900, 1000, 1200, 2000]], np.uint16), "x").tolist()
    [[0, 0, 100, 255]]
    """

    upright: bool = True
    background: int | None = 255
    levels: tuple[float, float] | Literal["own", "high byte"] | None = None

    def __post_init__(self) -> None:
        if self.background is not None and not 0 <= self.background <= 255:
            raise OutskirtsError(f"The background must be a grey level from 0 to 255, not {self.background}.")
        two = isinstance(self.levels, tuple) and len(self.levels) == 2 and self.levels[0] < self.levels[1]
        if not two and self.levels not in (None, "own", "high byte"):
            raise OutskirtsError(f"The levels must be two numbers, the smaller one first, not {self.levels}.")

    def bytes_of(self, pixels: NDArray[Any], name: str) -> NDArray[np.uint8]:
        """The pixels of one image as bytes.

        Arguments:
            pixels: An array of any shape.
            name: How errors call it.

        Raises:
            OutskirtsError: If they are no numbers, or are wide and there are no levels.
        """
        if pixels.dtype == np.uint8:
            return pixels
        least, most = finite_ends(pixels, name)
        if self.levels == "high byte" and pixels.dtype.kind != "f":
            return (pixels.astype(np.int64).clip(0, 2**16 - 1) >> 8).astype(np.uint8)
        if not isinstance(self.levels, tuple) and not is_wide(pixels):
            return (pixels * 255).round().astype(np.uint8)
        if isinstance(self.levels, tuple):
            return _in_bytes(pixels, *self.levels)
        if self.levels == "own":
            return _in_bytes(pixels, least, most if most > least else least + 1)
        raise OutskirtsError(
            f"{name} holds {pixels.dtype} from {least:g} to {most:g}, and no range is known that becomes 0 to 255: it "
            "is measured on training images, where these are of this kind. Convert these to 8 bits (uint8) as the "
            "training images were, or train on such images."
        )

    def beyond(self, pixels: NDArray[Any]) -> float:
        """The share of pixels that the levels cut off, from 0 to 1."""
        if pixels.dtype == np.uint8 or not isinstance(self.levels, tuple):
            return 0.0
        low, high = self.levels
        return float(((pixels < low) | (pixels > high)).mean())

    def to_json(self) -> dict[str, Any]:
        """As a dictionary for a JSON or YAML file."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any] | None) -> Self:
        """From what `to_json` returned; from None, what images were before there were readings."""
        if fields is None:
            return cls(**vars(FIRST))
        for name in fields:
            if name not in cls.__dataclass_fields__:
                raise unknown("field of a reading", name, cls.__dataclass_fields__)
        kind = {"upright": bool, "background": (int, None), "levels": ([float], str, None)}
        if clause := misfit(dict(fields), kind, "the reading"):
            raise OutskirtsError(f"How pixels are read is not known: {clause}.")
        levels = fields.get("levels")
        return cls(**{**fields, "levels": tuple(levels) if isinstance(levels, list) else levels})


#: What is done unless it is said otherwise.
USUAL = Reading()

#: What version 0.1 did: EXIF data and alpha channels are ignored, and of 16 bits the higher 8 are kept.
FIRST = Reading(upright=False, background=None, levels="high byte")

#: For images that are looked at, without any network.
SHOWN = Reading(levels="own")


def is_wide(pixels: NDArray[Any]) -> bool:
    """Whether pixels need a range: they are neither bytes nor floats from 0 to 1."""
    if pixels.dtype.kind != "f":
        return pixels.dtype != np.uint8
    return not 0 <= pixels.min() <= pixels.max() <= 1


def _in_bytes(pixels: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """From `low` to `high` linearly as 0 to 255, rounded; what is beyond is cut off."""
    scaled = (pixels.astype(np.float64) - low) * (255 / (high - low))
    return scaled.round().clip(0, 255).astype(np.uint8)


def require_numbers(pixels: NDArray[Any], name: str) -> None:
    """Raise if an array holds neither integers nor floating-point numbers; `name` is what errors call it."""
    if pixels.dtype.kind not in "uif":
        remedy = ": pass images.astype('uint8') * 255" if pixels.dtype == bool else ""
        raise OutskirtsError(f"{name} holds {pixels.dtype}; pixels are integers or floating-point numbers{remedy}.")


def finite_ends(pixels: NDArray[Any], name: str) -> tuple[float, float]:
    """The smallest and the largest number of some pixels.

    Arguments:
        pixels: An array of any shape.
        name: How errors call it.

    Raises:
        OutskirtsError: If not all are finite numbers.
    """
    require_numbers(pixels, name)
    least, most = float(pixels.min()), float(pixels.max())
    if not (np.isfinite(least) and np.isfinite(most)):  # NaN is refused by this, too.
        raise OutskirtsError(
            f"{name} holds {pixels.dtype} from {least:g} to {most:g}; pixels are finite numbers: replace NaN and "
            "infinity."
        )
    return least, most
