"""One stored image to pixels, and to a key that recognises copies of it."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..errors import OutskirtsError
from ..files import digest

__all__ = ["MIN_SIDE", "CorruptImage", "Item", "Items", "decode", "key", "picture", "scaled"]

#: A stored image: an encoded file's bytes, its path, a PIL image, or uint8 pixels [H, W] or [H, W, C].
Item: TypeAlias = bytes | Path | Image.Image | NDArray[Any]


class Items(Protocol):
    """Many of them: a list, an array whose first axis counts them, or something that reads one when asked."""

    def __len__(self) -> int: ...
    def __getitem__(self, row: int, /) -> Any: ...


#: Pixels that an image needs on each side.
MIN_SIDE = 4

_KEY_BYTES = 2**16
# What Pillow's decoders raise on damaged input.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    IndexError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


class CorruptImage(OutskirtsError):
    """An image that cannot be decoded, or has no usable pixels."""


def picture(pixels: Tensor) -> Image.Image:
    """What `decode` returned, uint8 [1 or 3, H, W], as a grey or an RGB picture."""
    return Image.fromarray((pixels[0] if len(pixels) == 1 else pixels.movedim(0, 2)).numpy())


def scaled(shown: Image.Image, side: int) -> Image.Image:
    """A picture whose shorter side is so many pixels, bilinear."""
    width, height = (round(side / min(shown.size) * length) for length in shown.size)
    return shown.resize((width, height), Image.Resampling.BILINEAR)


def decode(item: Item, name: str) -> Tensor:
    """The pixels of one image, uint8 [C, H, W] with C = 1 (grey) or 3 (RGB).

    Grey images stay grey and 16 bits become 8; palettes, CMYK and the like become RGB; an alpha channel is
    dropped; of an animation the first frame counts. The orientation in EXIF data is ignored, as it is by
    torchvision, so that pixels are those that published results saw.

    Arguments:
        item: The stored image.
        name: How errors call it.

    Raises:
        CorruptImage: if it cannot be decoded, or is smaller than 4 pixels on a side.
    """
    try:
        pixels = np.array(item) if isinstance(item, np.ndarray) else _pixels(item)
    except _DAMAGE as error:
        raise CorruptImage(f"{name} cannot be decoded ({error}).") from error
    if min(pixels.shape[:2]) < MIN_SIDE:
        height, width = pixels.shape[:2]
        raise CorruptImage(f"{name} is {width}x{height} pixels; each side needs at least {MIN_SIDE}.")
    image = torch.from_numpy(pixels)
    return image[None] if image.ndim == 2 else image.permute(2, 0, 1)


def key(item: Item) -> str:
    """A hash that equal images share: of the pixels, or of an encoded file's size and first 64 KiB.

    The same file has the same key wherever it lies, on disk or inside a Parquet file; another encoding of the
    same picture has another.
    """
    if isinstance(item, Path):
        try:
            with item.open("rb") as file:
                return digest(str(item.stat().st_size), file.read(_KEY_BYTES))
        except OSError as error:
            raise CorruptImage(f"{item} cannot be read ({error}).") from error
    if isinstance(item, bytes):
        return digest(str(len(item)), item[:_KEY_BYTES])
    pixels = np.asarray(item)
    return digest(str(pixels.shape), pixels.tobytes())


def _pixels(item: bytes | Path | Image.Image) -> NDArray[np.uint8]:
    if isinstance(item, Image.Image):
        return _plain(item)
    with Image.open(io.BytesIO(item) if isinstance(item, bytes) else item) as picture:
        return _plain(picture)


def _plain(picture: Image.Image) -> NDArray[np.uint8]:
    if picture.mode in ("L", "1", "LA", "La"):
        return _in(picture, "L")
    if picture.mode.startswith("I"):
        return (np.asarray(picture).astype(np.int64).clip(0, 2**16 - 1) >> 8).astype(np.uint8)
    if picture.mode == "F":
        raise ValueError("its pixels are floating-point numbers; save it with 8 bits")
    if picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")
    return _in(picture, "RGB")


def _in(picture: Image.Image, mode: str) -> NDArray[np.uint8]:
    # Pillow would copy what is in that mode already. What is damaged is found out by reading, not by NumPy.
    picture.load()
    return np.array(picture if picture.mode == mode else picture.convert(mode))
