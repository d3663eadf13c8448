"""The pixels of an opened picture: all of its bits, upright, and laid on a background where they are transparent."""

from __future__ import annotations

import io
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from .reading import FIRST, Reading

__all__ = ["has_deep_pixels", "plain", "unwarned"]

#: The tag of TIFF files that says what a page is: 0 is a picture of its own, others are smaller copies and masks.
_KIND_OF_PAGE = 254

#: The tags of TIFF files that say how many channels a page has, and what those beside its colours are: 0 is anything.
_SAMPLES, _EXTRA = 277, 338

_AS_ARRAY = "an array [N, H, W, C] in an .npy file, of which ?channels=0,1,2 takes three"


@contextmanager
def unwarned() -> Iterator[None]:
    """A block in which Pillow warns of nothing: too many pixels are an error, and damaged EXIF data says nothing."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def plain(picture: Image.Image, reading: Reading, source: bytes | Path | None = None) -> NDArray[Any]:
    """The pixels of a picture, [H, W] or [H, W, 3]: uint8, or what it has more of.

    Arguments:
        picture: The picture, open.
        reading: Which way up it is, and what becomes of its alpha channel.
        source: What it was opened from, if it is encoded.

    Raises:
        ValueError: If it is more than one picture, or has pixels that cannot be read whole.
    """
    if reading == FIRST:
        return _numbers(picture, reading)
    _require_one(picture)
    pixels = _deep_colours(picture, source, reading) if _is_deep_colour(picture) else _numbers(picture, reading)
    return _turned(pixels, picture) if reading.upright else pixels


def has_deep_pixels(picture: Image.Image) -> bool:
    """Whether a picture has more than 8 bits for each channel; it is not decoded for that."""
    return picture.mode.startswith("I") or picture.mode == "F" or _is_deep_colour(picture)


def _numbers(picture: Image.Image, reading: Reading) -> NDArray[Any]:
    """What Pillow reads."""
    if picture.mode.startswith("I") or picture.mode == "F":
        if reading.background is not None and "transparency" in picture.info:
            raise ValueError("it has more than 8 bits and a transparent grey level; save it without transparency")
        picture.load()
        pixels = np.array(picture)
        return pixels.astype(pixels.dtype.newbyteorder("="))
    grey = picture.mode in ("L", "1", "LA", "La")
    if reading.background is not None and picture.has_transparency_data:
        colours = _in(picture, "LA" if grey else "RGBA")
        return _laid_on(reading.background, colours, 255)
    if picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")
    return _in(picture, "L" if grey else "RGB")


def _in(picture: Image.Image, mode: str) -> NDArray[np.uint8]:
    # Pillow would copy what is in that mode already. What is damaged is found out by reading, not by NumPy.
    picture.load()
    return np.array(picture if picture.mode == mode else picture.convert(mode))


def _laid_on(background: int | None, pixels: NDArray[Any], top: int) -> NDArray[Any]:
    """Pixels [H, W, C + 1], the last channel of which is alpha, on a grey level; alpha is dropped if that is None.

    Arguments:
        background: The grey level, from 0 to 255.
        pixels: Whole numbers.
        top: The number that is white and opaque.
    """
    colours, alpha = pixels[..., :-1].astype(np.int64), pixels[..., -1:].astype(np.int64)
    if background is not None:
        # Rounded: a sum of so many parts of an odd number is never half-way.
        colours = (colours * alpha + background * (top // 255) * (top - alpha) + top // 2) // top
    colours = colours.astype(pixels.dtype)
    return colours[..., 0] if colours.shape[2] == 1 else colours


def _is_deep_colour(picture: Image.Image) -> bool:
    """Whether Pillow would drop bits of its colours: it has no mode for them, and says how it reads them."""
    if picture.format not in ("PNG", "TIFF", "PPM") or picture.mode.startswith("I"):
        return False
    how = [str(tile[3]) for tile in getattr(picture, "tile", None) or ()]
    if picture.format == "PPM":
        return any(int(number) > 255 for text in how for number in re.findall(r"\d+", text))
    return any(";16" in text for text in how)


def _deep_colours(picture: Image.Image, source: bytes | Path | None, reading: Reading) -> NDArray[Any]:
    """The colours of a PNG file of 16 bits, uint16."""
    if picture.format != "PNG" or source is None or "transparency" in picture.info:
        raise ValueError(
            "it has 16 bits for each of several channels, which are read from PNG files without a transparent colour "
            "alone; save it as such a file, or as an array in an .npy file"
        )
    how = str(cast(Any, picture).tile[0][3])
    if how == "LA;16B":
        # Both bytes of the grey level and of alpha, as if they were four channels.
        both = _read_as("RGBA", source)
        higher, lower = both[..., 0::2], both[..., 1::2]
    else:
        # The higher bytes, and the lower ones, which are the higher ones of the other order.
        higher, lower = (_read_as(one, source) for one in (how, how.replace("16B", "16L")))
    # Then it is known where the orientation stands behind the pixels, too.
    picture.load()
    pixels = np.uint16(256) * higher + lower
    return _laid_on(reading.background, pixels, 2**16 - 1) if pixels.shape[2] in (2, 4) else pixels


def _read_as(how: str, source: bytes | Path) -> NDArray[np.uint8]:
    """The bytes that Pillow takes out of a PNG file if it is told that this is how they lie."""
    opened = cast(Any, Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=("PNG",)))
    with opened:
        opened.tile = [(*tile[:3], how) for tile in opened.tile]
        return np.array(opened)


def _turned(pixels: NDArray[Any], picture: Image.Image) -> NDArray[Any]:
    """Pixels as EXIF data says that they are to be seen; data that is damaged says nothing."""
    orientation = 1
    with suppress(OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, struct.error):
        orientation = int(picture.getexif().get(ExifTags.Base.Orientation, 1))
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _require_one(picture: Image.Image) -> None:
    """Raise if a file has more than is read of it: several pictures, or channels beside red, green, blue and alpha."""
    count = getattr(picture, "n_frames", 1)
    if picture.format == "TIFF":
        _require_one_page(picture, count)
    # The second picture of a photograph in such a file is a preview.
    elif count > 1 and picture.format != "MPO":
        raise ValueError(
            f"it is an animation of {count} frames, and an image is one; save the frame that counts as a file"
        )


def _require_one_page(picture: Any, count: int) -> None:
    own = []
    for page in range(count):
        picture.seek(page)
        own += [page] if picture.tag_v2.get(_KIND_OF_PAGE, 0) in (0, 2) else []
    if len(own) > 1:
        raise ValueError(
            f"it has {len(own)} pages, and an image is one; save each page as a file of its own, or pages that are "
            f"channels of one image as {_AS_ARRAY}"
        )
    picture.seek(own[0] if own else 0)
    samples = picture.tag_v2.get(_SAMPLES, 1)
    if samples > len(picture.getbands()) or 0 in picture.tag_v2.get(_EXTRA, ()):
        raise ValueError(f"it has {samples} channels, and an image has 1 or 3; save it as {_AS_ARRAY}")
