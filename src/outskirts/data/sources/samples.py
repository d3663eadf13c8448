"""Out-of-distribution images for demonstrations, cut from pictures that installed packages ship."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ...errors import MissingExtra, OutskirtsError
from ...seeding import generator
from ..decode import MIN_SIDE, open_picture
from ..imageset import ImageSet
from .spec import source

__all__ = ["faces", "photos", "textures"]

_TEXTURES = ("brick.png", "grass.png", "gravel.png", "ihc.png")
_PHOTOS = ("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")
_MORE_PHOTOS = ("china.jpg", "flower.jpg")


@source("textures")
def textures(size: int = 28, limit: int = 600, seed: int = 0) -> ImageSet:
    """Patches of brick, grass, gravel and stained tissue, from scikit-image.

    Arguments:
        size: Height and width of a patch, in pixels.
        limit: Number of patches.
        seed: Seed of the positions and scales of the patches.
    """
    return _patches("textures", [_scikit_image(name) for name in _TEXTURES], size, limit, seed)


@source("photos")
def photos(size: int = 28, limit: int = 600, seed: int = 0) -> ImageSet:
    """Patches of eight photographs, from scikit-image and scikit-learn.

    Arguments:
        size: Height and width of a patch, in pixels.
        limit: Number of patches.
        seed: Seed of the positions and scales of the patches.
    """
    folder = Path(str(files("sklearn"))) / "datasets" / "images"
    pictures = [_scikit_image(name) for name in _PHOTOS] + [folder / name for name in _MORE_PHOTOS]
    return _patches("photos", pictures, size, limit, seed)


@source("faces")
def faces(size: int = 28) -> ImageSet:
    """A hundred faces of Labeled Faces in the Wild, 25x25 grey, from scikit-image.

    Arguments:
        size: Height and width that they are brought to, in pixels.

    References:
        | Labeled Faces in the Wild (Huang et al., 2007)
        | http://vis-www.cs.umass.edu/lfw/
    """
    _check(size)
    # The second hundred of the file are not faces.
    pixels = (np.load(_scikit_image("lfw_subset.npy"))[:100] * 255).round().astype(np.uint8)
    square = (size, size)
    scaled = [np.array(Image.fromarray(face).resize(square, Image.Resampling.BILINEAR)) for face in pixels]
    return ImageSet(scaled, spec="faces", note="100 faces of 25x25 pixels, brought to one size.")


def _patches(name: str, pictures: list[Path], size: int, count: int, seed: int) -> ImageSet:
    """Patches at random places, of a side between twice `size` and half the picture, scaled to `size`."""
    _check(size)
    if count < 1:
        raise OutskirtsError(f"A limit of {count} leaves no image; choose at least 1.")
    draws = torch.rand(count, 3, generator=generator(seed, "pictures", name)).tolist()
    patches: list[NDArray[np.uint8]] = []
    opened = [_opened(path) for path in pictures]
    for i, (scale, across, down) in enumerate(draws):
        picture = opened[i % len(opened)]
        smallest = min(2 * size, *picture.size)
        largest = max(smallest, min(picture.size) / 2)
        # Even on the logarithm of the side, so that fine and coarse detail are equally frequent.
        side = smallest * (largest / smallest) ** scale
        left, top = across * (picture.width - side), down * (picture.height - side)
        box = (left, top, left + side, top + side)
        patches.append(np.array(picture.resize((size, size), Image.Resampling.BILINEAR, box)))
    note = (
        f"{count} patches of {len(pictures)} pictures. They are not independent, so confidence intervals are "
        "too narrow."
    )
    return ImageSet(patches, spec=name, note=note)


def _opened(path: Path) -> Image.Image:
    with open_picture(path) as picture:
        return picture.copy()


def _check(size: int) -> None:
    if not MIN_SIDE <= size <= 256:
        raise OutskirtsError(f"size={size} is not possible; it must be from {MIN_SIDE} to 256 pixels.")


def _scikit_image(name: str) -> Path:
    try:
        path = Path(str(files("skimage"))) / "data" / name
    except ModuleNotFoundError as error:
        raise MissingExtra("The demonstration's set of pictures", "demo") from error
    if not path.is_file():
        raise OutskirtsError(f"scikit-image is installed without its picture {name}; install it again.")
    return path
