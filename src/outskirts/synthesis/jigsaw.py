"""Outliers that are far from everything: noise, and images whose pieces are in disorder."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from ..seeding import per_image

__all__ = ["far_outliers", "jigsaw"]


def far_outliers(images: Tensor, count: int, generator: Generator) -> Tensor:
    """Images of which one half is normal noise and the other is of `jigsaw` pieces, [count, C, H, W].

    Arguments:
        images: Normalised, [B, C, H, W]; the pieces are of the first of them.
        count: At most 2·B.
        generator: On their device.
    """
    noises = count // 2
    noise = per_image(torch.randn, (noises, *images.shape[1:]), generator)
    return torch.cat([noise.to(images), jigsaw(images[: count - noises], generator)])


def jigsaw(images: Tensor, generator: Generator, pieces: int = 4) -> Tensor:
    """Images [B, C, H, W] cut into squares, `pieces` to a side, which change places within each image; what the
    squares leave over at the right and below stays.
    """
    side = min(images.shape[2:]) // pieces
    if not side or not len(images):
        return images.clone()
    width = side * pieces
    squares = images[:, :, :width, :width].unflatten(3, (pieces, side)).unflatten(2, (pieces, side))
    squares = squares.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
    order = per_image(torch.rand, (len(images), pieces**2), generator).argsort(1)
    squares = squares.gather(1, order[:, :, None, None, None].expand_as(squares))
    shuffled = images.clone()
    shuffled[:, :, :width, :width] = (
        squares.unflatten(1, (pieces, pieces)).permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
    )
    return shuffled
