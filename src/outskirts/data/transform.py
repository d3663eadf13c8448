"""What happens to an image before the network sees it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from ..arguments import check_arguments
from ..contents import misfit
from ..devices import constant
from ..errors import OutskirtsError, unknown
from .reading import FIRST, USUAL, Reading

__all__ = ["HALF", "IMAGENET", "Transform", "luminance", "require_unit_scale"]

#: Pixels are bytes, or floats where they are augmented; half precision marks tokens.
HALF = (torch.float16, torch.bfloat16)

#: No deviation of numbers from 0 to 1 is near to it.
_MOST_STD = 2
#: The mean and the standard deviation that networks trained on ImageNet expect, per channel on the scale of 0 to 1.
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@check_arguments
@dataclass(frozen=True)
class Transform:
    """From an image of any size to the network's input, in two steps.

    `host` makes images one size and stays in uint8, so that a set fits in memory; `device` turns a batch into
    normalised floats, where the batch is needed.

    Arguments:
        size: Height and width of the network's input, in pixels.
        channels: 1 (grey) or 3 (RGB).
        mean: Subtracted per channel, on the scale of 0 to 1; 0.5 unless given.
        std: Divided by per channel, on the same scale; 0.5 unless given.
        resize: What the shorter side becomes before the crop to `size`; `size` itself unless given.
        interpolation: How an image is resized.
        fit: How an image that is not square fits: the centre is kept (``crop``), its sides are stretched (``squash``),
            or all of it is kept, in a border of the colour `mean` (``pad``).
        reading: How the stored pixels of an image become bytes, before all else.
        trunk: Names the frozen part of the network, where there is one. What it says of an image, in half precision,
            may stand in for the image and passes through unchanged; see `outskirts.data.sources.token_set`.

    >>> transform = Transform(size=8, channels=1)
    >>> x = transform.device(transform.host(torch.zeros(3, 12, 20, dtype=torch.uint8))[None])
    >>> tuple(x.shape), x.mean().item()
    ((1, 1, 8, 8), -1.0)
    """

    size: int
    channels: int = 3
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    resize: int | None = None
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    trunk: str = ""
    fit: Literal["crop", "squash", "pad"] = "crop"
    reading: Reading = USUAL

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise OutskirtsError(
                f"A transform has 1 or 3 channels, not {self.channels}: images are grey or in colour. Wrap a network "
                "of other channels in one that takes 1 or 3, and makes its own of them."
            )
        for name in ("mean", "std"):
            values = tuple(getattr(self, name) or ()) or (0.5,) * self.channels
            if len(values) != self.channels:
                raise OutskirtsError(f"{name} has {len(values)} values for {self.channels} channels.")
            if not all(map(math.isfinite, values)):
                raise OutskirtsError(f"{name} must be a finite number in every channel, not {values}.")
            object.__setattr__(self, name, values)
        if min(self.std) <= 0:
            raise OutskirtsError(f"std must be above 0 in every channel, not {self.std}.")
        if not 0 < self.size <= self.resident_size:
            most = "" if self.resize is None else f" and at most resize={self.resize}"
            raise OutskirtsError(f"size must be at least 1{most}, not {self.size}.")

    @property
    def resident_size(self) -> int:
        """The side of images that leave room for random crops to `size`."""
        return self.size if self.resize is None else self.resize

    def side(self, room: bool = False) -> int:
        """The side of what `host` returns, in pixels."""
        return self.resident_size if room else self.size

    def host_key(self, room: bool = False) -> tuple[int | str | Reading, ...]:
        """What an image goes by until `host` is done: transforms of which it is equal give equal pixels."""
        return (self.channels, self.side(room), self.resident_size, self.interpolation, *self._fitting(), self.reading)

    def _fitting(self) -> tuple[int | str, ...]:
        """What `fit` adds; nothing where it is as in version 0.1."""
        if self.fit == "pad":
            return (self.fit, *(round(255 * value) for value in self.mean))
        return () if self.fit == "crop" else (self.fit,)

    def host(self, image: Tensor, room: bool = False) -> Tensor:
        """One image at the network's size and channels: resized as `fit` says, and its centre cropped.

        Grey becomes RGB by repetition, RGB becomes grey by the luminance of ITU-R BT.601.

        Arguments:
            image: uint8 [1 or 3, h, w].
            room: Crop to `resident_size` rather than `size`, which leaves room for random crops in training.

        Returns:
            uint8 [channels, S, S], S = ``side(room)``; the image itself where nothing is to be done.
        """
        if image.dtype in HALF:
            return self._passed(image)
        if image.shape[0] != self.channels:
            image = image.expand(3, -1, -1) if self.channels == 3 else luminance(image)
        side = self.side(room)
        if image.shape[1:] == (side, side) and side == self.resident_size:
            return image
        return F.center_crop(self._fitted(image), [side, side])

    def _fitted(self, image: Tensor) -> Tensor:
        """A whole image whose shorter side is `resident_size`, but for the border of a padded one."""
        side, (height, width) = self.resident_size, image.shape[1:]
        shape = [side, side] if self.fit == "squash" else [side]
        if self.fit == "pad":
            shape = [max(1, round(side * length / max(height, width))) for length in (height, width)]
        image = F.resize(image, shape, F.InterpolationMode(self.interpolation), antialias=True)
        if self.fit != "pad":
            return image
        canvas = torch.tensor([round(255 * value) for value in self.mean], dtype=image.dtype).view(-1, 1, 1)
        canvas = canvas.repeat(1, side, side)
        top, left = ((side - length) // 2 for length in image.shape[1:])
        canvas[:, top : top + image.shape[1], left : left + image.shape[2]] = image
        return canvas

    def center(self, batch: Tensor) -> Tensor:
        """The central `size` pixels of a batch [B, C, S, S] that has room for random crops."""
        return batch if batch.dtype in HALF else F.center_crop(batch, [self.size, self.size])

    def device(self, batch: Tensor) -> Tensor:
        """Normalised floats: ``(x / 255 - mean) / std``.

        Arguments:
            batch: uint8 [B, channels, H, W], on any device.

        Returns:
            float32 of the same shape, on the same device.
        """
        if batch.dtype in HALF:
            return self._passed(batch).float()
        mean, std = (constant(tuple(v), batch.device).view(-1, 1, 1) for v in (self.mean, self.std))
        return batch.float().div_(255).sub_(mean).div_(std)

    def _passed(self, tokens: Tensor) -> Tensor:
        if not self.trunk:
            raise OutskirtsError(
                "These are tokens of a frozen network, not images; train the network that they were extracted with: "
                "--backbone clip:DIR"
            )
        return tokens

    @classmethod
    def measured(cls, images: Tensor, size: int | None = None, *, resize: int | None = None) -> Self:
        """A transform with the mean and standard deviation of the images' own channels.

        Arguments:
            images: uint8 [N, C, H, W]; training images only, or the test set leaks into the transform.
            size: The network's input; the images' height unless given.
            resize: Shorter side of an image before the crop, in pixels, as in `Transform`.
        """
        if not len(images):
            raise OutskirtsError("The mean and standard deviation cannot be measured without images.")
        counts = torch.zeros(images.shape[1], 256, dtype=torch.float64)
        # A histogram is exact, and the blocks bound what widening the bytes takes.
        for block in images.split(max(1, 2**22 // images[0].numel())):
            for channel, histogram in enumerate(counts):
                histogram += torch.bincount(block[:, channel].flatten(), minlength=256)
        levels = torch.arange(256, dtype=torch.float64) / 255
        weights = counts / counts.sum(1, keepdim=True)
        mean = weights @ levels
        # A constant channel has no spread to divide by; one grey level stands in for it.
        std = (weights * (levels - mean[:, None]) ** 2).sum(1).sqrt().clamp_min(1 / 255)
        size = images.shape[2] if size is None else size
        return cls(size, images.shape[1], _rounded(mean), _rounded(std), resize)

    def to_json(self) -> dict[str, Any]:
        """As a dictionary for a JSON file; `fit` and `reading` are in it where they are not as in version 0.1."""
        fields = {name: list(v) if isinstance(v, tuple) else v for name, v in vars(self).items()}
        fields["reading"] = self.reading.to_json()
        first = {"fit": "crop", "reading": FIRST.to_json()}
        return {name: value for name, value in fields.items() if name not in first or first[name] != value}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """From what `to_json` returned."""
        for name in fields:
            if name not in cls.__dataclass_fields__:
                raise unknown("field of a transform", name, cls.__dataclass_fields__)
        kind = {"size": int, "mean": ([float], None), "std": ([float], None), "reading": (dict, None)}
        if clause := misfit(fields, kind, "the transform"):
            raise OutskirtsError(f"A transform needs a size, a mean and a std: {clause}.")
        return cls(**{**fields, "reading": Reading.from_json(fields.get("reading"))})


def _rounded(values: Tensor) -> tuple[float, ...]:
    return tuple(round(value, 6) for value in values.tolist())


def luminance(image: Tensor) -> Tensor:
    """The luminance of ITU-R BT.601, uint8 [..., 1, h, w], of RGB, uint8 [..., 3, h, w]."""
    weights = torch.tensor([299, 587, 114], dtype=torch.int32).view(3, 1, 1)
    return ((image * weights).sum(-3, keepdim=True) + 500).div(1000, rounding_mode="floor").to(torch.uint8)


def require_unit_scale(transform: Transform) -> None:
    """Raise if a mean or a deviation that was stated is on the scale of bytes: pixels are brought to 0 to 1 first."""
    if max(transform.mean) > 1 or max(transform.std) > _MOST_STD:
        mean, std = (",".join(f"{value / 255:.3f}" for value in values) for values in (transform.mean, transform.std))
        raise OutskirtsError(
            f"The mean {transform.mean} and std {transform.std} are not on the scale of 0 to 1, to which pixels of any "
            f"kind are brought before; divide by 255 what is of bytes: mean={mean} and std={std}."
        )
