"""Images that came with a request, as an image set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..data.decode import CorruptImage, open_picture
from ..data.imageset import ImageSet

__all__ = ["Content", "Upload", "Uploads", "require_small"]

#: An encoded picture, or pixels [H, W, 3].
Content: TypeAlias = "bytes | NDArray[np.uint8]"


class Upload(NamedTuple):
    """An image of a request.

    Arguments:
        name: What it is called, which need not be unique.
        content: The image.
    """

    name: str
    content: Content


class Uploads(ImageSet):
    """Images of requests. Several may have one name, so that the name of each has its position before it.

    Arguments:
        uploads: The images.
    """

    def __init__(self, uploads: Sequence[Upload]) -> None:
        super().__init__([upload.content for upload in uploads])
        self._names = [upload.name for upload in uploads]

    def name(self, i: int) -> str:
        row = int(self.index[i])
        return f"{row}:{self._names[row]}"


def require_small(upload: Upload, pixels: int) -> None:
    """Raise if an image has more pixels than are decoded; its header alone is read.

    Raises:
        CorruptImage: If it has, or is no image.
    """
    if isinstance(upload.content, bytes):
        try:
            with open_picture(upload.content) as picture:
                width, height = picture.size
        except Exception:  # What is wrong with it is told where it is decoded.
            return
    else:
        height, width = upload.content.shape[:2]
    if width * height > pixels:
        raise CorruptImage(f"{upload.name} has {width}x{height} pixels, and at most {pixels:,} are read here.")
