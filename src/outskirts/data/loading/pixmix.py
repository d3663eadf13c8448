r"""PixMix: images mixed with pictures of fractals, in up to four rounds.

A round takes a picture or an augmented copy of the image itself, and adds it or multiplies it in, with exponents and
factors from Beta distributions, so that most of the image stays.

The published pictures are fractals and visualised features to download; here they are fractals, made on the spot.

References:
    | PixMix: Dreamlike Pictures Comprehensively Improve Safety Measures (Hendrycks et al., 2022)
    | https://arxiv.org/abs/2112.05135
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Generator, Tensor
from torch.nn.functional import affine_grid, grid_sample

from ...errors import OutskirtsError
from ...seeding import per_image
from .fractals import fractals

__all__ = ["PixMix", "augmented"]

#: Pictures to mix with.
_PICTURES = 512


@dataclass(frozen=True)
class PixMix:
    """Mix an image with pictures.

    Arguments:
        rounds: Most rounds; each image has from none to this many.
        beta: Parameter of the Beta distributions; the larger, the more of the image stays.
        severity: Severity of the augmentations of the image's copies, from 0 to 10.
    """

    rounds: int = 4
    beta: float = 3.0
    severity: float = 3.0

    def __post_init__(self) -> None:
        if self.rounds < 0:
            raise OutskirtsError(f"PixMix must have 0 rounds or more, not {self.rounds}.")
        if not self.beta > 0:
            raise OutskirtsError(f"The beta of PixMix must be positive, not {self.beta}.")
        if not 0 <= self.severity <= 10:
            raise OutskirtsError(f"The severity of PixMix must be from 0 to 10, not {self.severity}.")

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        count, channels, height, width = images.shape

        def uniform() -> Tensor:
            return per_image(torch.rand, (count, 1, 1, 1), generator)

        def copy() -> Tensor:
            return augmented(own, self.severity, generator)

        own = images.float() / 255
        pictures = fractals(_PICTURES, max(height, width), device=images.device)[:, :, :height, :width]
        if channels == 1:
            pictures = pictures.float().mean(1, keepdim=True)
        mixed = torch.where(uniform() < 0.5, copy(), own)
        rounds = (uniform() * (self.rounds + 1)).long()
        for number in range(self.rounds):
            drawn = per_image(partial(torch.randint, len(pictures)), (count,), generator)
            other = torch.where(uniform() < 0.5, copy(), pictures[drawn].float() / 255)
            # How much of each: either shares of both, or more than all of the image less some of the other.
            most, little = uniform() ** (1 / self.beta), 1 - (1 - uniform()) ** (1 / self.beta)
            beyond = uniform() < 0.5
            first = torch.where(beyond, 2 - (1 - uniform()) ** (1 / self.beta), most)
            second = torch.where(beyond, -little, little)
            added, multiplied = (mix(mixed, other, first, second) for mix in (_added, _multiplied))
            result = torch.where(uniform() < 0.5, added, multiplied)
            mixed = torch.where(number < rounds, result.clamp(0, 1), mixed)
        return mixed * 255


def _added(one: Tensor, two: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """A weighted sum about the middle grey."""
    return (first * (2 * one - 1) + second * (2 * two - 1) + 1) / 2


def _multiplied(one: Tensor, two: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """A product of powers, of values from 0 to 2."""
    return (2 * one) ** first * (2 * two).clamp_min(1e-3) ** second / 2


# Augmentations of copies


def augmented(images: Tensor, severity: float, generator: Generator) -> Tensor:
    """Each image changed by one of nine operations: its grey values, or its place.

    Arguments:
        images: Floats from 0 to 1, [B, C, H, W].
        severity: Largest severity, from 0 to 10; an image draws its own up to it.
        generator: On the device of the images.
    """
    count = len(images)
    chosen = per_image(partial(torch.randint, 9), (count,), generator)
    level, coin = per_image(torch.rand, (2, count), generator, dim=1)
    level = level * severity / 10
    changed = _moved(images, chosen - 4, torch.where(coin < 0.5, level, -level))
    level = level[:, None, None, None]
    for number, operation in enumerate((_autocontrast, _equalized, _posterised, _solarised)):
        own = chosen == number
        if images.device.type == "cpu":
            changed[own] = operation(images[own], level[own])
        else:
            # The host would have to wait to be told which; computing all costs less.
            changed = torch.where(own[:, None, None, None], operation(images, level), changed)
    return changed


def _autocontrast(images: Tensor, level: Tensor) -> Tensor:
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    return torch.where(high > low, (images - low) / (high - low).clamp_min(1e-6), images)


def _equalized(images: Tensor, level: Tensor) -> Tensor:
    """Grey values by their rank among the image's, so that all are as frequent."""
    values = (images * 255).round().long().flatten(2)
    ones = torch.ones_like(values, dtype=images.dtype)
    counts = ones.new_zeros(*values.shape[:2], 256).scatter_add_(2, values, ones)
    below = counts.cumsum(2) - counts
    # The highest value becomes 1; what is of one value has no ranks.
    spread = below.gather(2, values.amax(2, keepdim=True))
    ranks = (below.gather(2, values) / spread.clamp_min(1)).view_as(images)
    return torch.where((spread == 0)[..., None], images, ranks)


def _posterised(images: Tensor, level: Tensor) -> Tensor:
    """Values of four bits, or of fewer the higher the level."""
    steps = 2 ** (4 + (4 * level).floor())
    return ((images * 255).floor() // steps * steps) / 255


def _solarised(images: Tensor, level: Tensor) -> Tensor:
    """Values above a threshold are inverted."""
    return torch.where(images < 1 - level, images, 1 - images)


def _moved(images: Tensor, kind: Tensor, amount: Tensor) -> Tensor:
    """Rotated, sheared or shifted, along either axis, by signed amounts [B]; other kinds stay."""
    angle = torch.where(kind == 0, amount * math.pi / 6, 0.0)
    shear_x, shear_y = (torch.where(kind == k, amount * 0.3, 0.0) for k in (1, 2))
    # A third of the image, of which the grid's side is 2.
    shift_x, shift_y = (torch.where(kind == k, amount * 2 / 3, 0.0) for k in (3, 4))
    rows = [angle.cos(), shear_x - angle.sin(), shift_x, shear_y + angle.sin(), angle.cos(), shift_y]
    theta = torch.stack(rows, 1).view(-1, 2, 3)
    grid = affine_grid(theta, list(images.shape), align_corners=False)
    return grid_sample(images, grid, align_corners=False)
