"""The resize of a transform as products with matrices, for images of any size in one graph.

An image that is resized is multiplied by a matrix from the left for its rows and by one from the right for its columns.
A matrix has a row for each pixel that is made. So it can leave out what is cropped, and its size is known before the
image's is. On most processors, resizing rounds to bytes after the columns and after the rows, and takes weights that
are rounded to 16 bits.

References:
    | Pillow's resampling, which torch follows for bytes
    | https://pillow.readthedocs.io/en/stable/handbook/concepts.html#filters
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as F

from ...data.transform import Transform, luminance
from ...seeding import generator

__all__ = ["Resized"]

Kind = Literal["bilinear", "bicubic"]

#: Weights have this many bits, one of which is the sign, and at most so many of them are behind the point.
_BITS, _MOST_BITS = 16, 22
#: Parts at most that the columns of an image are taken in.
_BANDS = 8


class Resized(nn.Module):
    """Images of any size at a network's size and channels, as `Transform.host` makes them.

    Arguments:
        transform: Transform of the network.
    """

    def __init__(self, transform: Transform) -> None:
        super().__init__()
        self.transform = transform
        self.in_bytes = _in_bytes(transform.interpolation)

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 [B, channels, S, S] of uint8 [B, H, W, 3]."""
        images = pixels.permute(0, 3, 1, 2)
        if self.transform.channels == 1:
            images = luminance(images)
        lengths = [torch.full((), length, dtype=torch.float64) for length in images.shape[2:]]
        (rows, inside), (columns, across) = (
            self._matrix(images.shape[axis + 2], size) for axis, size in enumerate(self._sizes(*lengths))
        )
        images = _banded(images, columns)
        images = self._bytes(images) if self.in_bytes else images
        images = self._bytes(rows @ images)
        if self.transform.fit == "pad":
            colour = torch.tensor([round(255 * value) for value in self.transform.mean], dtype=torch.float64)
            images = torch.where(inside[:, None] & across, images, colour.view(-1, 1, 1))
        return images.to(torch.uint8)

    def _sizes(self, height: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
        """Height and width of the resized image, before anything is cropped."""
        side = float(self.transform.resident_size)
        if self.transform.fit == "squash":
            return torch.full_like(height, side), torch.full_like(width, side)
        if self.transform.fit == "pad":
            longer = torch.maximum(height, width)
            return (side * height / longer).round().clamp_min(1), (side * width / longer).round().clamp_min(1)
        shorter = torch.minimum(height, width)
        return (side * height / shorter).floor(), (side * width / shorter).floor()

    def _matrix(self, length: int, size: Tensor) -> tuple[Tensor, Tensor]:
        """The matrix [S, length] of one axis, and which of the S pixels lie inside the image, bool [S]."""
        matrix = _weights(length, size, self.transform.interpolation)
        matrix = _rounded(matrix) if self.in_bytes else matrix
        side, whole = self.transform.size, self.transform.resident_size
        places = torch.arange(side) + self._first(size, whole, side)
        inside = (places >= 0) & (places < size)
        return matrix[places.clamp_min(0).minimum(size.long() - 1)], inside

    def _first(self, size: Tensor, whole: int, side: int) -> Tensor:
        """The pixel of the resized image that the first one of the result is, negative in a border."""
        if self.transform.fit != "pad":
            return ((size - side) / 2).round().long()
        return round((whole - side) / 2) - ((whole - size) / 2).floor().long()

    def _bytes(self, images: Tensor) -> Tensor:
        """Rounded as torch rounds: in whole numbers halves go up, otherwise to the even neighbour."""
        return ((images + 0.5).floor() if self.in_bytes else images.round()).clamp(0, 255)


def _weights(length: int, size: Tensor, kind: Kind) -> Tensor:
    """The share that each of `length` pixels has in each of `size` ones, float64 [size, length]."""
    count = size.long().item()
    torch._check(count >= 1)
    scale = torch.full((), length, dtype=torch.float64) / size
    centers = (torch.arange(count, dtype=torch.float64) + 0.5) * scale
    apart = (torch.arange(length, dtype=torch.float64) + 0.5 - centers[:, None]) / scale.clamp_min(1)
    shares = _triangle(apart) if kind == "bilinear" else _cubic(apart)
    return shares / shares.sum(1, keepdim=True)


def _banded(images: Tensor, matrix: Tensor) -> Tensor:
    """``images @ matrix.T``, float64, without most of the zeros of the matrix: a few neighbouring pixels that are made
    come from a part of the image.

    Arguments:
        images: uint8 [B, C, H, W].
        matrix: float64 [S, W]; what is not zero in a row moves to the right from row to row.
    """
    side, width = matrix.shape
    bands = max(count for count in range(1, _BANDS + 1) if side % count == 0)
    used = (matrix != 0).view(bands, -1, width).any(1)
    places = torch.arange(width)
    firsts = torch.where(used, places, width).amin(1)
    lasts = torch.where(used, places, -1).amax(1)
    length = (lasts - firsts).amax(0).add(1).item()
    torch._check(length >= 1)
    taken = firsts[:, None] + torch.arange(length)
    # Beyond the last pixel are zeros.
    inside, taken = taken < width, taken.clamp_max(width - 1)
    parts = images.index_select(3, taken.flatten()).unflatten(3, (bands, length)).permute(0, 1, 3, 2, 4).double()
    weights = matrix.view(bands, -1, width).gather(2, taken[:, None].expand(-1, side // bands, -1))
    weights = torch.where(inside[:, None], weights, 0.0)
    return (parts @ weights.mT).permute(0, 1, 3, 2, 4).flatten(3)


def _triangle(apart: Tensor) -> Tensor:
    return (1 - apart.abs()).clamp_min(0)


def _cubic(apart: Tensor) -> Tensor:
    """Keys' cubic convolution with a = -0.5, of which an antialiased resize takes this one."""
    apart, a = apart.abs(), -0.5
    near = ((a + 2) * apart - (a + 3)) * apart.square() + 1
    far = a * (((apart - 5) * apart + 8) * apart - 4)
    return torch.where(apart < 1, near, torch.where(apart < 2, far, 0.0))


def _rounded(shares: Tensor) -> Tensor:
    """Weights rounded to as many bits as hold the largest, halves away from zero."""
    units = 2.0 ** torch.arange(1, _MOST_BITS + 1, dtype=torch.float64)
    held = (shares.amax((0, 1)) * units + 0.5).floor() < 2 ** (_BITS - 1)
    unit = 2.0 ** held.sum()
    return shares.sign() * (shares.abs() * unit + 0.5).floor() / unit


@cache
def _in_bytes(kind: Kind) -> bool:
    """Whether this machine resizes bytes in whole numbers, which depends on its processor: one image tells."""
    image = torch.randint(0, 256, (3, 37, 41), dtype=torch.uint8, generator=generator(0, "resize"))
    shape = (11, 17)
    made = F.resize(image, list(shape), F.InterpolationMode(kind), antialias=True)
    rows, columns = (
        _rounded(_weights(length, torch.tensor(float(size), dtype=torch.float64), kind))
        for length, size in zip(image.shape[1:], shape)
    )
    whole = (image.double() @ columns.T + 0.5).floor().clamp(0, 255)
    whole = (rows @ whole + 0.5).floor().clamp(0, 255)
    return torch.equal(whole.to(torch.uint8), made)
