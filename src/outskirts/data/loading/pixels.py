"""Where the pixels of a training come from: memory of the device or the host, an array on disk, or worker processes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Generator, Tensor
from torch.utils.data import ConcatDataset, DataLoader, Dataset

from ...devices import sent, there
from ..imageset import ImageSet
from ..likeness import Likeness, thumbnails
from ..notes import require_sound
from ..transform import Transform

__all__ = ["PixelSource", "image_source"]


class PixelSource(Protocol):
    """Images of one or more sets, numbered through."""

    @property
    def sizes(self) -> Sequence[int]:
        """Images in each set."""

    @property
    def labels(self) -> Tensor:
        """Labels of all images, on the host, [N]."""

    def __call__(self, order: Iterator[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """For each list of numbers the images [n, C, S, S], uint8, wherever they lie, and labels [n], on the host."""


def image_source(
    sets: Sequence[ImageSet],
    transform: Transform,
    device: torch.device,
    memory_budget: int,
    workers: int,
    skip_corrupt: bool,
    seed: Generator,
) -> PixelSource:
    """The images at the transform's resident size, from memory if they fit the budget, else streamed.

    Memory is the device's where that has room, so that only numbers of images travel to it. Arrays on disk of that very
    size are read from there and take no memory.

    Arguments:
        sets: The first is held in memory rather than the others.
        transform: Brings each image to one size, by its method `host`, with room for random crops.
        device: Where the images are going to be used.
        memory_budget: Bytes of pixels to hold.
        workers: Processes that decode where images are streamed.
        skip_corrupt: Leave out images that cannot be decoded.
        seed: Generator that seeds the workers.
    """
    shape = (transform.channels, *(transform.side(room=True),) * 2)
    mapped = [_shape(images) == shape and k > 0 for k, images in enumerate(sets)]
    held = sum(images.nbytes(transform, room=True) for images, stays in zip(sets, mapped) if not stays)
    if held > memory_budget:

        def prepared(images: ImageSet) -> _Prepared:
            sound = images.decodable(transform.reading) if skip_corrupt else images
            require_sound(images)
            return _Prepared(sound, transform)

        return _Streamed([prepared(images) for images in sets], workers, seed, device.type == "cuda")

    def resident(images: ImageSet) -> _Memory:
        pixels, labels = images.resident(transform, room=True, skip_corrupt=skip_corrupt)
        require_sound(images)
        if images.pictures:
            images.likeness = Likeness.of(images.pixel_keys, thumbnails(transform.center(pixels)))
        return _Memory(pixels.to(device) if pixels.nbytes < _room(device) else pixels, labels)

    parts = [_Mapped(images) if stays else resident(images) for images, stays in zip(sets, mapped)]
    return _AtHand(parts, device)


def _room(device: torch.device) -> float:
    """Bytes of a device's memory that pixels may take: a quarter of what is free, so that training has the rest."""
    return torch.cuda.mem_get_info(device)[0] / 4 if device.type == "cuda" else math.inf


def _shape(images: ImageSet) -> tuple[int, ...] | None:
    """The shape [C, H, W] of every image, where the set is an array of bytes on disk."""
    if not isinstance(images.items, np.memmap) or images.items.dtype != np.uint8:
        return None
    height, width, *channels = images.items.shape[1:]
    return (*(channels or [1]), height, width)


@dataclass(frozen=True)
class _Memory:
    images: Tensor
    labels: Tensor

    def __call__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        return self.images[there(index, self.images.device)], self.labels[index]


class _Mapped:
    """An array on disk. It is read while the device is busy with what it was given before."""

    def __init__(self, images: ImageSet) -> None:
        self.items, self.index, self.labels = images.items, images.index, images.labels

    def __call__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        images = torch.from_numpy(self.items[self.index[index].numpy()])  # type: ignore[index]
        images = images[:, None] if images.ndim == 3 else images.movedim(3, 1).contiguous()
        return images, self.labels[index]


@dataclass(frozen=True)
class _AtHand:
    parts: Sequence[_Memory | _Mapped]
    device: torch.device

    @property
    def sizes(self) -> Sequence[int]:
        return [len(part.labels) for part in self.parts]

    @property
    def labels(self) -> Tensor:
        return torch.cat([part.labels for part in self.parts])

    def __call__(self, order: Iterator[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        yield from map(self._take, order)

    def _take(self, index: Tensor) -> tuple[Tensor, Tensor]:
        if len(self.parts) == 1:
            return self.parts[0](index)
        places, pixels, labels, start = [], [], [], 0
        for part, size in zip(self.parts, self.sizes):
            place = ((index >= start) & (index < start + size)).nonzero().flatten()
            places.append(place)
            own, classes = part(index[place] - start)
            pixels.append(sent(own, self.device))
            labels.append(classes)
            start += size
        back = torch.cat(places).argsort()
        return torch.cat(pixels)[there(back, self.device)], torch.cat(labels)[back]


@dataclass(frozen=True)
class _Streamed:
    """Images decoded by worker processes as they are needed."""

    parts: Sequence[_Prepared]
    workers: int
    #: Of the workers; the loader would else draw from the global one.
    seed: Generator = field(compare=False)
    #: Whether batches wait in memory that a device can copy from by itself.
    pinned: bool = False

    @property
    def sizes(self) -> Sequence[int]:
        return [len(part) for part in self.parts]

    @property
    def labels(self) -> Tensor:
        return torch.cat([part.image_set.labels for part in self.parts])

    def __call__(self, order: Iterator[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        lists = (index.tolist() for index in order)
        # One loader for the whole training, so that its workers last as long; each is some batches ahead.
        yield from DataLoader(
            ConcatDataset(self.parts),
            batch_sampler=lists,
            num_workers=self.workers,
            prefetch_factor=4 if self.workers else None,
            generator=self.seed,
            pin_memory=self.pinned,
        )


class _Prepared(Dataset):
    """An image set whose images all have the transform's resident size."""

    def __init__(self, image_set: ImageSet, transform: Transform) -> None:
        self.image_set, self.transform = image_set, transform

    def __len__(self) -> int:
        return len(self.image_set)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.image_set.image(index, self.transform.reading)
        return self.transform.host(image, room=True), int(self.image_set.labels[index])
