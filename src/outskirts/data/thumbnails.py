"""Some images of a set on one small sheet, for a notebook."""

from __future__ import annotations

import io
from collections.abc import Iterable

from PIL import Image
from torch import Tensor

from .decode import picture

__all__ = ["sheet"]

_GAP = 3


def sheet(images: Iterable[Tensor], columns: int = 6, side: int = 64) -> bytes | None:
    """A PNG file with the images in a grid; None if there is no image.

    Arguments:
        images: Each uint8 [1 or 3, h, w], of any size.
        columns: Images per line.
        side: The longer side of each in the sheet, in pixels; small images are enlarged without smoothing.
    """
    shown = [_fitted(picture(pixels).convert("RGB"), side) for pixels in images]
    if not shown:
        return None
    lines = -(-len(shown) // columns)
    step = side + _GAP
    # What no image covers is transparent, so that it suits a light and a dark notebook.
    whole = Image.new("RGBA", (min(columns, len(shown)) * step - _GAP, lines * step - _GAP), (0, 0, 0, 0))
    for place, image in enumerate(shown):
        line, column = divmod(place, columns)
        whole.paste(image, (column * step, line * step))
    file = io.BytesIO()
    whole.save(file, format="PNG")
    return file.getvalue()


def _fitted(image: Image.Image, side: int) -> Image.Image:
    width, height = (max(1, round(length * side / max(image.size))) for length in image.size)
    smooth = Image.Resampling.BILINEAR if max(image.size) > side else Image.Resampling.NEAREST
    return image.resize((width, height), smooth)
