"""The same images, coded, resized or taken otherwise: what a detector of content must not notice."""

from __future__ import annotations

import io
from os import PathLike

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import OutskirtsError
from .decode import Altered, Items, decode, picture, scaled
from .packed import Packed

__all__ = ["CHANGES", "Faded", "Noisy", "Recoded", "Resized"]


class Corruption(Items):
    """Images, each changed when it is read, once its pixels are bytes.

    Arguments:
        items: The stored images.
        amount: Amount of the change.
    """

    def __init__(self, items: Items, amount: int) -> None:
        self.items, self.amount = items, amount

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, row: int, /) -> Altered:
        stored = self.items[row]
        named = self.items.name(row) if isinstance(self.items, Packed) else f"row {row}"
        name = str(stored) if isinstance(stored, PathLike) else named
        return Altered(stored, lambda reading: self.changed(picture(decode(stored, name, reading)), row))

    def changed(self, shown: Image.Image, row: int) -> bytes | NDArray[np.uint8]:
        """The changed image, as an encoded file or as pixels.

        Arguments:
            shown: The stored image, grey or RGB.
            row: Number of the image.
        """
        raise NotImplementedError


class Recoded(Corruption):
    """Images as JPEG files of a quality from 1 to 95."""

    def __init__(self, items: Items, amount: int) -> None:
        if not 1 <= amount <= 95:
            raise OutskirtsError(f"The quality of a JPEG image must be from 1 to 95, not {amount}.")
        super().__init__(items, amount)

    def changed(self, shown: Image.Image, row: int) -> bytes:
        file = io.BytesIO()
        shown.save(file, "jpeg", quality=self.amount)
        return file.getvalue()


class Resized(Corruption):
    """Images whose shorter side was once so many pixels, and is what it was again; bilinear both times.

    A number larger than the images' own leaves them nearly as they are.
    """

    def __init__(self, items: Items, amount: int) -> None:
        if amount < 4:
            raise OutskirtsError(f"Images must have at least 4 pixels on each side, not {amount}.")
        super().__init__(items, amount)

    def changed(self, shown: Image.Image, row: int) -> NDArray[np.uint8]:
        return np.array(scaled(shown, self.amount).resize(shown.size, Image.Resampling.BILINEAR))


class Noisy(Corruption):
    """Images with Gaussian noise of this standard deviation, of 255 levels; of an image, always the same."""

    def __init__(self, items: Items, amount: int) -> None:
        if not 0 < amount <= 255:
            raise OutskirtsError(f"The standard deviation of the noise must be from 1 to 255 levels, not {amount}.")
        super().__init__(items, amount)

    def changed(self, shown: Image.Image, row: int) -> NDArray[np.uint8]:
        pixels = np.array(shown, np.float32)
        noise = np.random.default_rng(row).standard_normal(pixels.shape, np.float32)
        return (pixels + self.amount * noise).round().clip(0, 255).astype(np.uint8)


class Faded(Corruption):
    """Images with this part, in per cent, of their contrast about their mean."""

    def __init__(self, items: Items, amount: int) -> None:
        if not 0 < amount <= 100:
            raise OutskirtsError(f"The remaining contrast must be from 1 to 100 %, not {amount}.")
        super().__init__(items, amount)

    def changed(self, shown: Image.Image, row: int) -> NDArray[np.uint8]:
        pixels = np.array(shown, np.float32)
        mean = pixels.mean()
        return (mean + self.amount / 100 * (pixels - mean)).round().clip(0, 255).astype(np.uint8)


#: By the option of a spec, in the order in which they apply.
CHANGES: dict[str, type[Corruption]] = {"contrast": Faded, "noise": Noisy, "through": Resized, "jpeg": Recoded}
