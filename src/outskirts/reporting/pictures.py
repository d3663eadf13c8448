"""Pictures as ``data:`` addresses, small enough to live inside the page."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

from ..data.decode import open_picture
from ..errors import OutskirtsError
from ..files import reading

__all__ = ["data_uri", "thumbnail"]

#: Pictures up to so many pixels on a side are kept as they are, dot by dot.
_TINY = 48


def data_uri(path: Path, widest: int = 1400, heaviest: int = 500_000) -> str:
    """The picture as PNG, no wider than `widest` pixels, or as JPEG if that exceeds `heaviest` bytes."""
    try:
        missing = f"{path} is missing, but the gallery names it; evaluate the run again."
        with reading(path, missing), open_picture(path) as file:
            image = file.convert("RGB")
    except (OSError, SyntaxError) as error:  # Pillow raises SyntaxError for a broken PNG
        raise OutskirtsError(f"{path} is damaged or not a picture ({error}).") from error
    if image.width > widest:
        image = image.resize((widest, max(1, round(image.height * widest / image.width))))
    kind, data = "PNG", _encode(image, "PNG")
    if len(data) > heaviest:
        kind, data = "JPEG", _encode(image, "JPEG")
    return _uri(kind, data)


def thumbnail(image: Image.Image, side: int = 144) -> str:
    """A picture whose longer side is at most `side` pixels: a PNG if it is tiny, or else a JPEG."""
    small = image.convert("RGB")
    if max(small.size) <= _TINY:
        return _uri("PNG", _encode(small, "PNG"))
    small.thumbnail((side, side))
    return _uri("JPEG", _encode(small, "JPEG"))


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind.lower()};base64,{base64.b64encode(data).decode()}"


def _encode(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, optimize=True, quality=85)
    return buffer.getvalue()
