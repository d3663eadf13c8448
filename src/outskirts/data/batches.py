"""Training batches that can be entered at any step.

The order of an epoch and the augmentation of a step are functions of the run's seed and a counter, so a resumed
run sees what an uninterrupted one would have seen, and nothing about the data needs to be saved.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset

from ..errors import OutskirtsError
from ..seeding import generator
from .augment import Augmentation, Compose
from .imageset import ImageSet
from .transform import Transform

__all__ = ["Batch", "Batches", "training_batches"]


@dataclass(frozen=True)
class Batch:
    """One training batch.

    Arguments:
        views: One tensor of normalised images [B, C, H, W] per view; most methods ask for one.
        labels: [B], int64.
        epoch: Epochs that will be complete at the end of this one, counted from 1.
        epochs: Of the whole training.
        generator: For whatever else the method draws at this step.
    """

    views: tuple[Tensor, ...]
    labels: Tensor
    epoch: int
    epochs: int
    generator: Generator

    @property
    def images(self) -> Tensor:
        """The first view."""
        return self.views[0]


@dataclass(frozen=True)
class Plan:
    """Which images make up each step: a new permutation an epoch, the incomplete last batch left out."""

    images: int
    batch_size: int
    epochs: int
    seed: int
    rank: int = 0
    world: int = 1

    @property
    def steps_per_epoch(self) -> int:
        return max(1, self.images // self.batch_size)

    def indices(self, step: int) -> Tensor:
        """The images of this process at a step, counted from 0 over all epochs."""
        epoch, k = divmod(step, self.steps_per_epoch)
        order = _order(self.images, self.seed, epoch)
        return order[k * self.batch_size : (k + 1) * self.batch_size][self.rank :: self.world]


@lru_cache(maxsize=2)
def _order(images: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(images, generator=generator(seed, "order", epoch))


class Batches:
    """Iterates over training batches from any step on.

    Arguments:
        source: Draws uint8 images and labels for steps from a given one on.
        plan: The order of the images.
        transform: Normalises.
        augment: Applied per sample on the device.
        device: Where batches are made.
        views: Differently augmented copies per image.
    """

    def __init__(
        self,
        source: _Resident | _Streamed,
        plan: Plan,
        transform: Transform,
        augment: Augmentation,
        device: torch.device,
        views: int = 1,
    ) -> None:
        self.source, self.plan, self.transform, self.augment = source, plan, transform, augment
        self.device, self.views = device, views

    @property
    def steps(self) -> int:
        """Of the whole training."""
        return self.plan.steps_per_epoch * self.plan.epochs

    def start(self, step: int) -> Iterator[Batch]:
        """Batches from `step`, counted from 0, to the end of the last epoch."""
        for number, (images, labels) in enumerate(self.source.draw(self.plan, step, self.steps), start=step):
            images, labels = images.to(self.device), labels.to(self.device)
            yield Batch(
                views=tuple(self._view(images, number, view) for view in range(self.views)),
                labels=labels,
                epoch=number // self.plan.steps_per_epoch + 1,
                epochs=self.plan.epochs,
                generator=self._generator("method", number),
            )

    def plain(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Every image once, un-augmented and in order, in blocks of normalised images and labels."""
        for images, labels in self.source.blocks(self.plan.batch_size):
            images = self.transform.device(self.transform.centre(images.to(self.device)))
            yield images.contiguous(memory_format=torch.channels_last), labels.to(self.device)

    def _view(self, images: Tensor, step: int, view: int) -> Tensor:
        images = self.transform.device(self.augment(images, self._generator("augment", step, view)))
        return images.contiguous(memory_format=torch.channels_last)

    def _generator(self, *path: str | int) -> Generator:
        return generator(self.plan.seed, *path, self.plan.rank, device=self.device)


@dataclass(frozen=True)
class _Resident:
    """All images in memory as uint8."""

    images: Tensor
    labels: Tensor

    def draw(self, plan: Plan, start: int, stop: int) -> Iterator[tuple[Tensor, Tensor]]:
        for step in range(start, stop):
            index = plan.indices(step)
            yield self.images[index], self.labels[index]

    def blocks(self, rows: int) -> Iterator[tuple[Tensor, Tensor]]:
        yield from zip(self.images.split(rows), self.labels.split(rows))


@dataclass(frozen=True)
class _Streamed:
    """Images decoded by worker processes as they are needed."""

    images: _Prepared
    workers: int

    def draw(self, plan: Plan, start: int, stop: int) -> Iterator[tuple[Tensor, Tensor]]:
        order = (plan.indices(step).tolist() for step in range(start, stop))
        yield from self._load(order, plan.seed)

    def blocks(self, rows: int) -> Iterator[tuple[Tensor, Tensor]]:
        yield from self._load(block.tolist() for block in torch.arange(len(self.images)).split(rows))

    def _load(self, order: Iterator[list[int]], seed: int = 0) -> DataLoader:
        return DataLoader(
            self.images,
            batch_sampler=order,
            num_workers=self.workers,
            generator=generator(seed, "workers"),  # The loader would else draw from the global one.
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


def training_batches(
    image_set: ImageSet,
    transform: Transform,
    augment: Augmentation,
    *,
    batch_size: int,
    epochs: int,
    seed: int,
    device: torch.device,
    views: int = 1,
    rank: int = 0,
    world: int = 1,
    memory_budget: int = 2**31,
    workers: int = 2,
    skip_corrupt: bool = False,
) -> Batches:
    """Batches from memory if the set fits `memory_budget` bytes, else streamed through worker processes."""
    if not image_set.pictures and augment != Compose():
        raise OutskirtsError(f"Tokens cannot be augmented, and {image_set.spec} holds tokens; pass --augment none.")
    source: _Resident | _Streamed
    if image_set.nbytes(transform, room=True) <= memory_budget:
        source = _Resident(*image_set.resident(transform, room=True, skip_corrupt=skip_corrupt))
    else:
        image_set = image_set.decodable() if skip_corrupt else image_set
        source = _Streamed(_Prepared(image_set, transform), workers)
    # As many images for each process, as methods need that gather them.
    batch_size = min(batch_size, len(source.images)) // world * world
    if batch_size // world < 2:
        raise OutskirtsError(
            f"A batch of {batch_size} over {world} processes leaves fewer than 2 images each, too few for batch "
            "normalisation; use a larger --batch-size or more images."
        )
    plan = Plan(len(source.images), batch_size, epochs, seed, rank, world)
    return Batches(source, plan, transform, augment, device, views)
