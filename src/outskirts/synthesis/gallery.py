"""Synthesised outliers to look at: a contact sheet of sources above their outliers."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from .. import seeding
from ..data.batches import Batch
from ..data.imageset import ImageSet
from ..data.transform import Transform
from ..errors import OutskirtsError
from ..files import atomic, save_json
from ..methods import Method
from .outliers import Outliers

__all__ = ["contact_sheet", "pixels", "save_png", "synthesise"]

_GAP = 2


def pixels(images: Tensor, transform: Transform) -> Tensor:
    """Undo the normalisation: float [B, C, H, W] to uint8, clamped to what a picture can show."""
    mean, std = (torch.tensor(v, device=images.device).view(-1, 1, 1) for v in (transform.mean, transform.std))
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
            picture = _picture(images[place]).resize((width * scale, height * scale), Image.Resampling.NEAREST)
            sheet.paste(picture, (column * step_x, line * block + row * step_y))
    return sheet


def save_png(path: Path, picture: Image.Image | Tensor) -> None:
    """Write a picture, or an image uint8 [C, H, W], as PNG, atomically."""
    with atomic(path) as temporary:
        (picture if isinstance(picture, Image.Image) else _picture(picture)).save(temporary, format="PNG")


def _picture(image: Tensor) -> Image.Image:
    return Image.fromarray(image[0].numpy() if len(image) == 1 else image.permute(1, 2, 0).contiguous().numpy())


def synthesise(
    method: Method,
    image_set: ImageSet,
    folder: Path,
    *,
    seed: int = 0,
    epoch: int = 1,
    epochs: int = 1,
    skip_corrupt: bool = False,
) -> Outliers | None:
    """Make an outlier of every image of a set as the method would, and write pictures of both.

    Writes ``outliers.png``, a contact sheet of sources above outliers, and ``outliers.json``, its caption and
    the diagnostics.

    Arguments:
        method: Trained, or not.
        image_set: Labelled like the method's classes.
        folder: Where the files go.
        seed: Of the synthesis.
        epoch: Epoch of the training, counted from 1, whose strength is used.
        epochs: Of the whole training.
        skip_corrupt: Leave out images that cannot be decoded.

    Returns:
        The outliers; None if the method makes none.
    """
    transform = method.classifier.transform
    images, labels = image_set.resident(transform, skip_corrupt=skip_corrupt)
    if int(labels.min()) < 0:
        raise OutskirtsError(f"{image_set.spec} has images without a label; outliers are made of labelled images.")
    batch = Batch((transform.device(images),), labels, epoch, epochs, seeding.generator(seed, "synthesise"))
    outliers = method.eval().outliers(batch)
    if outliers is not None and outliers.values.ndim == 4:
        save_png(folder / "outliers.png", contact_sheet([images, pixels(outliers.values, transform)]))
        info = {key: value.item() for key, value in outliers.info.items() if value.numel() == 1}
        caption = f"Images of {image_set.spec} above the outliers that '{method.name}' makes of them."
        save_json(folder / "outliers.json", {"caption": caption, **info})
    return outliers
