"""The same images, coded or resized otherwise: what a detector of content must not notice."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import OutskirtsError
from .decode import Items, decode

__all__ = ["Recoded", "Resized"]


class Recoded(Items):
    """Images as JPEG files.

    Arguments:
        items: The stored images.
        quality: Of the compression, from 1 to 95.
    """

    def __init__(self, items: Items, quality: int) -> None:
        if not 1 <= quality <= 95:
            raise OutskirtsError(f"The quality of a JPEG image is from 1 to 95, not {quality}.")
        self.items, self.quality = items, quality

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, row: int, /) -> bytes:
        file = io.BytesIO()
        _picture(self.items[row], row).save(file, "jpeg", quality=self.quality)
        return file.getvalue()


class Resized(Items):
    """Images whose shorter side was once so many pixels, and is what it was again; bilinear both times.

    Arguments:
        items: The stored images.
        side: In pixels; larger than the images' own, it leaves them nearly as they are.
    """

    def __init__(self, items: Items, side: int) -> None:
        if side < 4:
            raise OutskirtsError(f"Images have at least 4 pixels on each side, not {side}.")
        self.items, self.side = items, side

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, row: int, /) -> NDArray[Any]:
        picture = _picture(self.items[row], row)
        scale = self.side / min(picture.size)
        width, height = (max(4, round(scale * side)) for side in picture.size)
        return np.array(
            picture.resize((width, height), Image.Resampling.BILINEAR).resize(picture.size, Image.Resampling.BILINEAR)
        )


def _picture(item: Any, row: int) -> Image.Image:
    pixels = decode(item, f"row {row}").movedim(0, 2).numpy()
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
