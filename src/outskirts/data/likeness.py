"""What tells that images are the same, or look the same, though they are stored in other files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray
from torch import Tensor

from ..errors import OutskirtsError
from ..files import is_file, load_tensors, save_tensors

__all__ = ["KEY", "SIDE", "Likeness", "load_likenesses", "pixel_key", "save_likenesses", "thumbnails"]

#: Bytes of the key of an image's pixels.
KEY = 16

#: Height and width of a thumbnail.
SIDE = 16

#: Images whose pixels are floats at one time.
_BLOCK = 256


def pixel_key(image: Tensor) -> bytes:
    """A hash of decoded pixels, which equal pictures share whatever file they come from; 16 bytes.

    Arguments:
        image: uint8 [1 or 3, h, w]; a grey picture has the key of the same picture in colour.
    """
    _, height, width = image.shape
    colour = image.expand(3, -1, -1).permute(1, 2, 0).contiguous()
    return xxhash.xxh3_128_digest(colour.numpy().data, seed=height << 32 | width)


def thumbnails(pixels: Tensor) -> Tensor:
    """Small grey pictures, each pixel of which is the mean of an area.

    Arguments:
        pixels: uint8 [B, C, S, S], on any device.

    Returns:
        uint8 [B, 16, 16].
    """
    weights = _areas(pixels.shape[-1]).to(pixels.device)
    blocks = [weights @ block.sum(1, dtype=torch.int16).float() @ weights.T for block in pixels.split(_BLOCK)]
    return (torch.cat(blocks) / pixels.shape[1]).round().to(torch.uint8)


@cache
def _areas(side: int) -> Tensor:
    """What each of so many pixels in a row counts in the means of 16 areas, [16, S]."""
    edges = torch.linspace(0, side, SIDE + 1, dtype=torch.float32)
    starts = torch.arange(side)
    covered = torch.minimum(edges[1:, None], starts + 1) - torch.maximum(edges[:-1, None], starts)
    return covered.clamp_min(0) * SIDE / side


@dataclass(frozen=True)
class Likeness:
    """What is kept of each image of a set to compare it with others, in the order of the set.

    Arguments:
        pixels: The key of each image's pixels, uint8 [N, 16]; zeros where the image was not decoded.
        thumbnails: uint8 [N, 16, 16], of what the network sees of the image; zeros where it was not decoded.
    """

    pixels: Tensor
    thumbnails: Tensor

    @classmethod
    def of(cls, keys: NDArray[np.void], shown: Tensor) -> Likeness:
        """The likeness of a set some of whose images may be corrupt.

        Arguments:
            keys: Keys of the pixels of all images, [N], with zeros where an image is corrupt.
            shown: Thumbnails of the others, uint8 [n, 16, 16], in their order.
        """
        pixels = torch.from_numpy(keys.view(np.uint8).reshape(-1, KEY))
        if len(shown) == len(pixels):
            return cls(pixels, shown)
        every = shown.new_zeros(len(pixels), SIDE, SIDE)
        every[(pixels != 0).any(1)] = shown
        return cls(pixels, every)

    def __len__(self) -> int:
        return len(self.pixels)

    def keys(self) -> list[bytes]:
        """The keys of the pixels; empty where they are not known."""
        whole, none = self.pixels.numpy().tobytes(), bytes(KEY)
        keys = (whole[start : start + KEY] for start in range(0, len(whole), KEY))
        return [b"" if key == none else key for key in keys]


def save_likenesses(file: Path, known: Mapping[str, Likeness]) -> None:
    """Write the likenesses of some sets, by name."""
    save_tensors(file, {f"{name}/{part}": tensor for name, one in known.items() for part, tensor in vars(one).items()})


def load_likenesses(file: Path) -> dict[str, Likeness]:
    """What `save_likenesses` has written; nothing where there is no file.

    Raises:
        OutskirtsError: If the file is damaged.
    """
    if not is_file(file):
        return {}
    remedy = "Delete the file; then only images of equal bytes are found to be the same."
    try:
        tensors, _ = load_tensors(file)
        sets = sorted({name.rpartition("/")[0] for name in tensors})
        known = {name: Likeness(tensors[f"{name}/pixels"], tensors[f"{name}/thumbnails"]) for name in sets}
    except OutskirtsError as error:
        raise OutskirtsError(f"{error} {remedy}") from error
    except KeyError as error:
        raise OutskirtsError(f"{file} is damaged: it lacks {error}. {remedy}") from error
    for one in known.values():
        if one.pixels.shape != (len(one), KEY) or one.thumbnails.shape != (len(one), SIDE, SIDE):
            raise OutskirtsError(f"{file} is damaged: it does not hold keys and thumbnails of images. {remedy}")
    return known
