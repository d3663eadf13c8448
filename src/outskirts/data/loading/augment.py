"""Augmentations applied per sample, to whole batches, on the batch's device.

Each is a small frozen object called as ``augmentation(images, generator)`` with images [B, C, H, W] in uint8, or
in float on the same 0–255 scale; each image draws its own parameters from the generator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Generator, Tensor
from torch.nn.functional import affine_grid, grid_sample

from ...devices import constant
from ...errors import OutskirtsError, unknown
from ...seeding import generator, per_image
from ...texts import comma_separated
from .pixmix import PixMix

__all__ = ["Augmentation", "ColorJitter", "Compose", "Crop", "Flip", "Grayscale", "ResizedCrop", "parse_augmentations"]

Augmentation = Callable[[Tensor, Generator], Tensor]


def _require(holds: bool, sentence: str) -> None:
    if not holds:
        raise OutskirtsError(sentence)


def _require_probability(p: float) -> None:
    _require(0 <= p <= 1, f"A probability must be from 0 to 1, not {p}.")


def _uniform(images: Tensor, generator: Generator, low: float, high: float) -> Tensor:
    """One number per image, [B, 1, 1, 1], uniform in [low, high)."""
    return low + (high - low) * per_image(torch.rand, (len(images), 1, 1, 1), generator)


def _rearranged(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The pixels at `rows` [B, H] and `columns` [B, W] of each image."""
    batch = torch.arange(len(images), device=images.device)[:, None, None, None]
    channel = torch.arange(images.shape[1], device=images.device)[:, None, None]
    return images[batch, channel, rows[:, None, :, None], columns[:, None, None, :]]


@dataclass(frozen=True)
class Flip:
    """Mirror an image left to right with probability `p`."""

    p: float = 0.5

    def __post_init__(self) -> None:
        _require_probability(self.p)

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        mirrored = _uniform(images, generator, 0, 1) < self.p
        return torch.where(mirrored, images.flip(3), images)


@dataclass(frozen=True)
class Crop:
    """Shift an image by up to `padding` pixels in each direction, reflecting it at its borders."""

    padding: int = 4

    def __post_init__(self) -> None:
        _require(self.padding >= 0, f"A crop must shift by 0 pixels or more, not {self.padding}.")

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        height, width = images.shape[2:]
        _require(
            self.padding < min(height, width),
            f"A crop of padding {self.padding} needs images larger than that, not of {height}×{width} pixels.",
        )
        draw = partial(torch.randint, -self.padding, self.padding + 1)
        shift = per_image(draw, (2, len(images), 1), generator, dim=1)
        rows = torch.arange(height, device=images.device) + shift[0]
        columns = torch.arange(width, device=images.device) + shift[1]
        return _rearranged(images, _reflected(rows, height), _reflected(columns, width))


def _reflected(index: Tensor, size: int) -> Tensor:
    return size - 1 - (size - 1 - index.abs()).abs()


@dataclass(frozen=True)
class ResizedCrop:
    """Cut out a random part of an image and resize it to `size` (bilinear).

    Arguments:
        size: Side of the result in pixels.
        low: Smallest share of the area that is cut out.
        high: Largest share of the area.
        ratio: Largest aspect ratio, and the inverse of the smallest.
    """

    size: int
    low: float = 0.08
    high: float = 1.0
    ratio: float = 4 / 3

    def __post_init__(self) -> None:
        _require(
            0 < self.low <= self.high <= 1,
            "The area of a resized crop must lie between two shares from 0 to 1, the smaller first; not "
            f"between {self.low} and {self.high}.",
        )
        _require(self.ratio >= 1, f"The largest aspect ratio must be 1 or more, not {self.ratio}.")

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        area = _uniform(images, generator, self.low, self.high).flatten()
        aspect = _uniform(images, generator, -math.log(self.ratio), math.log(self.ratio)).flatten().exp()
        # Half extents as shares of the image; a part wider or taller than the image is narrowed to fit.
        half_w = (area * aspect).sqrt().clamp_max(1)
        half_h = (area / aspect).sqrt().clamp_max(1)
        x = _uniform(images, generator, -1, 1).flatten() * (1 - half_w)
        y = _uniform(images, generator, -1, 1).flatten() * (1 - half_h)
        zero = torch.zeros_like(x)
        theta = torch.stack([torch.stack([half_w, zero, x], 1), torch.stack([zero, half_h, y], 1)], 1)
        grid = affine_grid(theta, [len(images), images.shape[1], self.size, self.size], align_corners=False)
        return grid_sample(images.float(), grid, align_corners=False, padding_mode="reflection")


_LUMINANCE = (0.299, 0.587, 0.114)


def _gray(images: Tensor) -> Tensor:
    """Luminance (ITU-R BT.601), [B, 1, H, W], float."""
    if images.shape[1] == 1:
        return images.float()
    weights = constant(_LUMINANCE, images.device)[:, None, None]
    return (images.float() * weights).sum(1, keepdim=True)


@dataclass(frozen=True)
class Grayscale:
    """Replace the colours of an image by its luminance with probability `p`."""

    p: float = 0.2

    def __post_init__(self) -> None:
        _require_probability(self.p)

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        chosen = _uniform(images, generator, 0, 1) < self.p
        return torch.where(chosen, _gray(images).expand_as(images), images.float())


@dataclass(frozen=True)
class ColorJitter:
    """Change brightness, contrast, saturation and hue, in this order, with probability `p`.

    Arguments:
        brightness: Scales an image by a factor within 1 ± this.
        contrast: Scales the distance to the image's mean luminance.
        saturation: Scales the distance of each pixel to its luminance.
        hue: Rotates the colours around the grey axis by at most this share of a full turn.
        p: Probability that an image is changed at all.
    """

    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    p: float = 0.8

    def __post_init__(self) -> None:
        strengths = (self.brightness, self.contrast, self.saturation, self.hue)
        _require(min(strengths) >= 0, f"The strengths of a jitter must be 0 or more, not {strengths}.")
        _require(self.hue <= 0.5, f"The hue must turn by at most half a circle (0.5), not {self.hue}.")
        _require_probability(self.p)

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        def factor(strength: float) -> Tensor:
            return _uniform(images, generator, max(0.0, 1 - strength), 1 + strength)

        chosen = _uniform(images, generator, 0, 1) < self.p
        x = (images.float() * factor(self.brightness)).clamp(0, 255)
        mean = _gray(x).mean((2, 3), keepdim=True)
        x = torch.lerp(mean, x, factor(self.contrast)).clamp(0, 255)
        saturation = factor(self.saturation)
        turn = _uniform(images, generator, -self.hue, self.hue) * 2 * math.pi
        if images.shape[1] == 3:
            x = torch.lerp(_gray(x), x, saturation).clamp(0, 255)
            x = _rotated(x, turn).clamp(0, 255)
        return torch.where(chosen, x, images.float())


def _rotated(images: Tensor, angle: Tensor) -> Tensor:
    """Rotate RGB vectors around the grey axis (Rodrigues' formula); angle [B, 1, 1, 1] in radians."""
    red, green, blue = images.unbind(1)
    across = torch.stack([blue - green, red - blue, green - red], 1) / math.sqrt(3)
    along = images.mean(1, keepdim=True)
    return torch.lerp(along, images, angle.cos()) + across * angle.sin()


@dataclass(frozen=True)
class Compose:
    """Apply augmentations one after the other."""

    steps: Sequence[Augmentation] = ()

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        for step in self.steps:
            images = step(images, generator)
        return images


def _whole(number: float) -> int:
    if number != int(number):
        raise ValueError(f"{number} is not a whole number")
    return int(number)


_BY_NAME: dict[str, Callable[..., Augmentation]] = {
    "flip": lambda size, p=0.5: Flip(p),
    "crop": lambda size, padding=4: Crop(_whole(padding)),
    "resized-crop": ResizedCrop,
    "jitter": lambda size, *strengths: ColorJitter(*strengths),
    "grey": lambda size, p=0.2: Grayscale(p),
    "pixmix": lambda size, rounds=4, *strengths: PixMix(_whole(rounds), *strengths),
}


def parse_augmentations(text: str, size: int) -> Compose:
    """Augmentations from their names, comma-separated, each with optional numbers after colons.

    Arguments:
        text: Such as ``"resized-crop:0.2:1,flip,jitter:0.4:0.4:0.4:0.1,grey"``; ``"none"`` for none.
        size: Side of the network's input in pixels.

    Raises:
        OutskirtsError: If a name is unknown, or a number out of its range or too large for the images.

    >>> parse_augmentations("flip,crop:2", 32)
    Compose(steps=(Flip(p=0.5), Crop(padding=2)))
    """
    steps = []
    for part in comma_separated(text):
        name, *numbers = part.split(":")
        if name == "none":
            continue
        if name not in _BY_NAME:
            raise unknown("augmentation", name, [*_BY_NAME, "none"])
        try:
            steps.append(_BY_NAME[name](size, *map(float, numbers)))
        except OutskirtsError as error:
            raise OutskirtsError(f"The augmentation '{part}' is not possible. {error}") from error
        except (TypeError, ValueError, OverflowError) as error:
            raise OutskirtsError(
                f"The augmentation '{part}' cannot be read; only a few numbers may follow '{name}', such as "
                "crop:4 or resized-crop:0.2:1."
            ) from error
    compose = Compose(tuple(steps))
    # Steps that images of this size do not allow are told here rather than in the midst of a run.
    compose(torch.zeros(1, 3, size, size, dtype=torch.uint8), generator(0, "trial"))
    return compose
