"""Synthesised outliers to look at: sources above their outliers, or features and outliers as points in a plane."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from ..data.decode import picture
from ..data.imageset import ImageSet
from ..data.selection import evenly_spaced
from ..data.transform import Transform
from ..devices import constant
from ..files import atomic, save_json

__all__ = ["contact_sheet", "denormalized", "picture_of", "save_png"]

_GAP = 2

#: Images of outliers on a sheet.
_SHOWN = 48


def denormalized(images: Tensor, transform: Transform) -> Tensor:
    """Undo the normalisation: float [B, C, H, W] to uint8, clamped to what a picture can show."""
    mean, std = (constant(v, images.device).view(-1, 1, 1) for v in (transform.mean, transform.std))
    return ((images * std + mean) * 255).round().clamp(0, 255).to(torch.uint8).cpu()


def contact_sheet(rows: list[Tensor], columns: int = 12, side: int = 64) -> Image.Image:
    """Pictures in columns: the first of every row above each other, then the second, and so on.

    Arguments:
        rows: Each uint8 [N, C, H, W], all of one shape.
        columns: Pictures per line.
        side: Smallest side of a picture in the sheet, in pixels; small ones are enlarged without smoothing.
    """
    count, channels, height, width = rows[0].shape
    scale = max(1, math.ceil(side / height))
    lines = math.ceil(count / columns)
    step_y, step_x = height * scale + _GAP, width * scale + _GAP
    block = step_y * len(rows) + 3 * _GAP
    sheet = Image.new("RGB" if channels == 3 else "L", (min(columns, count) * step_x, lines * block), 255)
    if channels == 3:
        sheet.paste((255, 255, 255), (0, 0, *sheet.size))
    for place in range(count):
        line, column = divmod(place, columns)
        for row, images in enumerate(rows):
            drawn = picture(images[place]).resize((width * scale, height * scale), Image.Resampling.NEAREST)
            sheet.paste(drawn, (column * step_x, line * block + row * step_y))
    return sheet


def save_png(path: Path, image: Image.Image | Tensor) -> None:
    """Write a picture, or an image uint8 [C, H, W], as PNG, atomically."""
    with atomic(path) as temporary:
        (image if isinstance(image, Image.Image) else picture(image)).save(temporary, format="PNG")


def picture_of(outliers: ImageSet, transform: Transform, folder: Path) -> None:
    """Write ``outliers.png`` and ``outliers.json`` of images of outliers from disk."""
    shown = outliers.subset(evenly_spaced(len(outliers), _SHOWN))
    pixels, _ = shown.resident(transform, skip_corrupt=True)
    # All of these may be corrupt, though others are not.
    if not len(pixels):
        return
    save_png(folder / "outliers.png", contact_sheet([pixels]))
    made = f", {outliers.note}" if outliers.note else ""
    save_json(
        folder / "outliers.json", {"caption": f"Some of the {len(outliers):,} outliers of {outliers.spec}{made}."}
    )
