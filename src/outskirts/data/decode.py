"""One stored image to pixels."""

from __future__ import annotations

import io
import os
import re
import stat
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from ..errors import OutskirtsError
from .picture import has_deep_pixels, plain, unwarned
from .reading import FIRST, SHOWN, Reading, is_wide

__all__ = [
    "MIN_SIDE",
    "Altered",
    "CorruptImage",
    "Item",
    "Items",
    "decode",
    "image_of",
    "is_deep",
    "open_picture",
    "picture",
    "plain_pixels",
    "regular",
    "scaled",
    "stored_pixels",
]

#: A stored image: an encoded file's bytes, its path, a PIL image, or pixels [H, W] or [H, W, C] that are numbers.
Item: TypeAlias = "bytes | Path | Image.Image | NDArray[Any] | Altered"


class Items(Protocol):
    """Many of them: a list, an array whose first axis counts them, or something that reads one when asked."""

    def __len__(self) -> int: ...
    def __getitem__(self, row: int, /) -> Any: ...


#: Pixels that an image needs on each side.
MIN_SIDE = 4

#: Formats of image files, by Pillow's names. Each begins with bytes that tell it, so that nothing else is taken for it.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PCX", "PNG", "PPM", "QOI", "SGI", "TIFF", "WEBP")

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


@dataclass(frozen=True)
class Altered:
    """A stored image that is changed once it is read.

    Arguments:
        stored: The stored image.
        read: Gives the changed image for a reading of the stored one: an encoded file's bytes, or pixels, uint8.
    """

    stored: Item
    read: Callable[[Reading], bytes | NDArray[np.uint8]]


def decode(item: Item, name: str, reading: Reading = SHOWN) -> Tensor:
    """The pixels of one image, uint8 [C, H, W] with C = 1 (grey) or 3 (RGB).

    Grey images stay grey; palettes, CMYK and the like become RGB.

    Arguments:
        item: The stored image.
        name: How errors call it.
        reading: Which way up it is, what becomes of its alpha channel, and which range becomes 0 to 255. Unless given,
            as it is looked at.

    Raises:
        CorruptImage: If it cannot be decoded, is more than one picture, has other channels, is smaller than 4 pixels on
            a side, or its pixels are wide and the reading does not know their range.
    """
    return image_of(stored_pixels(item, name, reading), name, reading)


def image_of(pixels: NDArray[Any], name: str, reading: Reading) -> Tensor:
    """What `stored_pixels` returned as uint8 [C, H, W]."""
    try:
        image = torch.from_numpy(reading.bytes_of(pixels, name))
    except OutskirtsError as error:
        raise CorruptImage(str(error)) from error
    return image[None] if image.ndim == 2 else image.permute(2, 0, 1)


def stored_pixels(item: Item, name: str, reading: Reading) -> NDArray[Any]:
    """The pixels of one image as they are stored, [H, W] or [H, W, 3]: upright and without alpha, but not yet bytes.

    Arguments and errors are as of `decode`.
    """
    try:
        item = item.read(reading) if isinstance(item, Altered) else item
        pixels = np.array(item) if isinstance(item, np.ndarray) else _pixels(item, reading)
    except PermissionError as error:
        raise CorruptImage(f"{name} is not readable: permission denied.") from error
    except FileNotFoundError as error:
        raise CorruptImage(f"{name} does not exist.") from error
    except _DAMAGE as error:
        # Of what is no file, Pillow tells the address in memory.
        said = re.sub(r" <\S* object at 0x\w+>", "", str(error))
        raise CorruptImage(f"{name} cannot be decoded ({said}).") from error
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3)):
        raise CorruptImage(
            f"{name} has the shape {pixels.shape}; an image is [H, W], or [H, W, C] with 1 or 3 channels. Choose "
            "channels: images[..., [0, 1, 2]]."
        )
    if min(pixels.shape[:2]) < MIN_SIDE:
        height, width = pixels.shape[:2]
        raise CorruptImage(f"{name} is {width}x{height} pixels; each side needs at least {MIN_SIDE}.")
    return pixels


def is_deep(item: Item) -> bool:
    """Whether an image is stored with more than 8 bits for each channel, as far as its header tells."""
    if isinstance(item, Altered):
        return is_deep(item.stored)
    if isinstance(item, np.ndarray):
        return item.dtype != np.uint8
    with suppress(*_DAMAGE):
        if isinstance(item, Image.Image):
            return has_deep_pixels(item)
        with open_picture(item) as picture:
            return has_deep_pixels(picture)
    return False


def plain_pixels(item: Image.Image | NDArray[Any]) -> NDArray[Any]:
    """The pixels of an image that is not encoded, [H, W] or [H, W, C]: as bytes, but for those that are wide."""
    pixels = plain(item, FIRST) if isinstance(item, Image.Image) else np.asarray(item)
    return pixels if is_wide(pixels) else FIRST.bytes_of(pixels, "an array")


def regular(file: Path | int) -> os.stat_result:
    """What the system knows of a file, or an open one, that has an end.

    A pipe with the name of an image would be waited for for ever.

    Raises:
        OSError: If it is no such file.
    """
    known = os.stat(file)
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
    with unwarned(), _opened(where) as picture:
        if picture.width * picture.height > MAX_PIXELS:
            raise OSError(f"it has {picture.width}x{picture.height} pixels, and at most {MAX_PIXELS:,} are read")
        yield picture


def _opened(where: bytes | Path) -> Image.Image:
    try:
        return Image.open(io.BytesIO(where) if isinstance(where, bytes) else where, formats=formats())
    except UnidentifiedImageError as error:
        with io.BytesIO(where) if isinstance(where, bytes) else where.open("rb") as file:
            if file.read(4) not in (b"II*\0", b"MM\0*"):
                raise
        raise OSError(
            "it is a TIFF file with channels or numbers that Pillow does not read; save it as an array [N, H, W, C] in "
            "an .npy file, of which ?channels=0,1,2 takes three"
        ) from error


@cache
def formats() -> tuple[str, ...]:
    """The formats that are read, of those that this Pillow knows. Others run programs, such as that of PostScript."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _pixels(item: bytes | Path | Image.Image, reading: Reading) -> NDArray[Any]:
    if isinstance(item, Image.Image):
        with unwarned():
            return plain(item, reading)
    with open_picture(item) as picture:
        return plain(picture, reading, item)
