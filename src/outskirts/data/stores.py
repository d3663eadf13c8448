"""Where the pixels of a training come from: memory, an array on disk, or worker processes that decode."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Generator, Tensor
from torch.utils.data import ConcatDataset, DataLoader, Dataset

from .imageset import ImageSet
from .transform import Transform

__all__ = ["Source", "image_source"]


class Source(Protocol):
    """Images of one or more sets, numbered through."""

    @property
    def sizes(self) -> Sequence[int]:
        """Images in each set."""

    def __call__(self, order: Iterator[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """For each list of numbers the images [n, C, S, S], uint8, and labels [n]."""


def image_source(
    sets: Sequence[ImageSet],
    transform: Transform,
    memory_budget: int,
    workers: int,
    skip_corrupt: bool,
    seed: Generator,
) -> Source:
    """The images at the transform's resident size, from memory if they fit the budget, else streamed.

    Arrays on disk of that very size are read from there and take no memory.

    Arguments:
        sets: The first is held in memory rather than the others.
        transform: Its `host` is applied, with room for random crops.
        memory_budget: Bytes of pixels to hold.
        workers: Processes that decode where images are streamed.
        skip_corrupt: Leave out images that cannot be decoded.
        seed: Of the workers.
    """
    shape = (transform.channels, *(transform.side(room=True),) * 2)
    mapped = [_shape(images) == shape and k > 0 for k, images in enumerate(sets)]
    held = sum(images.nbytes(transform, room=True) for images, stays in zip(sets, mapped) if not stays)
    if held > memory_budget:
        sets = [images.decodable() if skip_corrupt else images for images in sets]
        return _Streamed([_Prepared(images, transform) for images in sets], workers, seed)
    return _AtHand(
        [
            _Mapped(images) if stays else _Memory(*images.resident(transform, room=True, skip_corrupt=skip_corrupt))
            for images, stays in zip(sets, mapped)
        ]
    )


def _shape(images: ImageSet) -> tuple[int, ...] | None:
    """The shape [C, H, W] of every image, where the set is an array on disk."""
    if not isinstance(images.items, np.memmap):
        return None
    height, width, *channels = images.items.shape[1:]
    return (*(channels or [1]), height, width)


@dataclass(frozen=True)
class _Memory:
    images: Tensor
    labels: Tensor

    def __call__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        return self.images[index], self.labels[index]


class _Mapped:
    """An array on disk."""

    def __init__(self, images: ImageSet) -> None:
        self.items, self.index, self.labels = images.items, images.index, images.labels

    def __call__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        images = torch.from_numpy(self.items[self.index[index].numpy()])  # type: ignore[index]
        images = images[:, None] if images.ndim == 3 else images.movedim(3, 1).contiguous()
        return images, self.labels[index]


@dataclass(frozen=True)
class _AtHand:
    parts: Sequence[_Memory | _Mapped]

    @property
    def sizes(self) -> Sequence[int]:
        return [len(part.labels) for part in self.parts]

    def __call__(self, order: Iterator[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        yield from map(self._take, order)

    def _take(self, index: Tensor) -> tuple[Tensor, Tensor]:
        if len(self.parts) == 1:
            return self.parts[0](index)
        places, found, start = [], [], 0
        for part, size in zip(self.parts, self.sizes):
            place = ((index >= start) & (index < start + size)).nonzero().flatten()
            places.append(place)
            found.append(part(index[place] - start))
            start += size
        back = torch.cat(places).argsort()
        images, labels = (torch.cat(kind)[back] for kind in zip(*found))
        return images, labels


@dataclass(frozen=True)
class _Streamed:
    """Images decoded by worker processes as they are needed."""

    parts: Sequence[_Prepared]
    workers: int
    #: Of the workers; the loader would else draw from the global one.
    seed: Generator = field(compare=False)

    @property
    def sizes(self) -> Sequence[int]:
        return [len(part) for part in self.parts]

    def __call__(self, order: Iterator[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        lists = (index.tolist() for index in order)
        yield from DataLoader(
            ConcatDataset(self.parts), batch_sampler=lists, num_workers=self.workers, generator=self.seed
        )


class _Prepared(Dataset):
    """An image set whose images all have the transform's resident size."""

    def __init__(self, image_set: ImageSet, transform: Transform) -> None:
        self.image_set, self.transform = image_set, transform

    def __len__(self) -> int:
        return len(self.image_set)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image, label = self.image_set[index]
        return self.transform.host(image, room=True), label
