"""One stored image to pixels."""

from __future__ import annotations

import io
import os
import stat
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..errors import OutskirtsError

__all__ = [
    "MIN_SIDE",
    "CorruptImage",
    "Item",
    "Items",
    "as_uint8",
    "decode",
    "open_picture",
    "picture",
    "plain_pixels",
    "regular",
    "scaled",
]

#: A stored image: an encoded file's bytes, its path, a PIL image, or pixels [H, W] or [H, W, C] that are uint8, or
#: floats from 0 to 1.
Item: TypeAlias = bytes | Path | Image.Image | NDArray[Any]


class Items(Protocol):
    """Many of them: a list, an array whose first axis counts them, or something that reads one when asked."""

    def __len__(self) -> int: ...
    def __getitem__(self, row: int, /) -> Any: ...


#: Pixels that an image needs on each side.
MIN_SIDE = 4

#: Formats of image files, by Pillow's names.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")

#: Pixels that an image has at most: 134 millions.
MAX_PIXELS = 2**27

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
        pixels = as_uint8(np.array(item), name) if isinstance(item, np.ndarray) else _pixels(item)
    except PermissionError as error:
        raise CorruptImage(f"{name} is not readable: permission denied.") from error
    except _DAMAGE as error:
        raise CorruptImage(f"{name} cannot be decoded ({error}).") from error
    if min(pixels.shape[:2]) < MIN_SIDE:
        height, width = pixels.shape[:2]
        raise CorruptImage(f"{name} is {width}x{height} pixels; each side needs at least {MIN_SIDE}.")
    image = torch.from_numpy(pixels)
    return image[None] if image.ndim == 2 else image.permute(2, 0, 1)


def plain_pixels(item: Image.Image | NDArray[Any]) -> NDArray[np.uint8]:
    """The pixels of an image that is not encoded, uint8 [H, W] or [H, W, C]."""
    return _plain(item) if isinstance(item, Image.Image) else as_uint8(np.asarray(item), "an array")


def as_uint8(pixels: NDArray[Any], where: str) -> NDArray[np.uint8]:
    """Pixels of floating-point numbers from 0 to 1 as those from 0 to 255; uint8 stays as it is.

    Arguments:
        pixels: An array of any shape.
        where: How errors call them.

    Raises:
        OutskirtsError: If they are anything else, which would be cut off.
    """
    if pixels.dtype == np.uint8:
        return pixels
    if not np.issubdtype(pixels.dtype, np.floating):
        remedy = (
            "images.astype('uint8') * 255" if pixels.dtype == bool else "images.astype('uint8'), if none is above 255"
        )
        raise OutskirtsError(f"{where} holds {pixels.dtype}; pixels are uint8, or floats from 0 to 1: pass {remedy}.")
    least, most = (float(edge) for edge in (pixels.min(initial=np.inf), pixels.max(initial=-np.inf)))
    if not 0 <= least <= most <= 1:  # NaN is refused by this, too.
        remedy = (
            "images.round().astype('uint8')" if 0 <= least <= most <= 255 else "what it was before it was normalised"
        )
        raise OutskirtsError(
            f"{where} holds {pixels.dtype} from {least:g} to {most:g}; pixels are uint8, or floats from 0 to 1: pass "
            f"{remedy}."
        )
    return (pixels * 255).round().astype(np.uint8)


def regular(path: Path) -> os.stat_result:
    """What the system knows of a file that has an end; a pipe with the name of an image would be waited for for ever.

    Raises:
        OSError: If it is no such file.
    """
    known = path.stat()
    if not stat.S_ISREG(known.st_mode):
        raise OSError("it is not a regular file")
    return known


@contextmanager
def open_picture(where: bytes | Path) -> Iterator[Image.Image]:
    """An encoded image, to be read in this block; of a format that starts no other program, and of a bounded size.

    Raises:
        OSError: If it is none.
    """
    if isinstance(where, Path):
        regular(where)
    with warnings.catch_warnings():
        # The limit below is an error.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        opened = Image.open(io.BytesIO(where) if isinstance(where, bytes) else where, formats=formats())
    with opened as picture:
        if picture.width * picture.height > MAX_PIXELS:
            raise OSError(f"it has {picture.width}x{picture.height} pixels, and at most {MAX_PIXELS:,} are read")
        yield picture


@cache
def formats() -> tuple[str, ...]:
    """The formats that are read, of those that this Pillow knows. Others run programs, such as that of PostScript."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _pixels(item: bytes | Path | Image.Image) -> NDArray[np.uint8]:
    if isinstance(item, Image.Image):
        return _plain(item)
    with open_picture(item) as picture:
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
