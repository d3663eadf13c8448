"""Training batches that can be entered at any step.

The order of an epoch and the augmentation of a step are functions of the run's seed and a counter, so a resumed
run sees what an uninterrupted one would have seen, and nothing about the data needs to be saved.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat, tee
from typing import Literal

import torch
from torch import Generator, Tensor

from ...devices import sent, there
from ...distributed import gather
from ...errors import OutskirtsError
from ...seeding import Shared, generator, subseed
from ..imageset import ImageSet
from ..transform import Transform
from .augment import Augmentation, Compose
from .balance import BalancedDraws, class_weights
from .mixed_sampler import MixedSampler, Mixing
from .pixels import PixelSource, image_source
from .sampler import BalancedSampler, CyclicSampler, Sampler

__all__ = ["Batch", "Batches", "training_batches"]


@dataclass(frozen=True)
class Batch:
    """One training batch.

    Arguments:
        views: One tensor of normalised images [B, C, H, W] per view; most methods ask for one.
        labels: [B], int64.
        epoch: Epochs that will be complete at the end of this one, counted from 1.
        epochs: Number of epochs of the whole training.
        generator: For whatever else the method draws at this step; the same on all processes, so that what is drawn for
            single images is to be drawn by `outskirts.seeding.per_image`.
        weights: Weight of each image in averages over the batch [B], with the sum 1, or that sum on average over
            processes; None where all count alike. Weights of classes are part of them.
        outliers: Normalised images of outliers [M, C, H, W], for methods that train with some from disk.
        whole: The labels of all processes' images, on the host; asked of them unless given.
    """

    views: tuple[Tensor, ...]
    labels: Tensor
    epoch: int
    epochs: int
    generator: Generator
    weights: Tensor | None = None
    outliers: Tensor | None = None
    whole: Tensor | None = None

    @property
    def images(self) -> Tensor:
        """The first view."""
        return self.views[0]

    @property
    def every_label(self) -> Tensor:
        """The labels of all views of all processes, on the host, in the order of `outskirts.distributed.gather`."""
        whole = gather(self.labels).cpu() if self.whole is None else self.whole
        return whole.repeat(len(self.views))

    @property
    def view_weights(self) -> Tensor | None:
        """The weights of all views' images, the first view's first, [V·B]."""
        return None if self.weights is None else self.weights.repeat(len(self.views)) / len(self.views)


class Batches:
    """Iterates over training batches from any step on.

    Arguments:
        source: Yields uint8 images and labels for an order of their numbers.
        plan: The order of the images.
        transform: Normalises the images on the device.
        augment: Applied per sample on the device.
        device: Where batches are made.
        views: Differently augmented copies per image.
        outliers: Batches of outlier images, one of which accompanies every batch.
        stream: Names the randomness of the augmentations.
        class_weights: What an image of each class counts in averages over a batch, [C], beside what the sampler says of
            it; all alike unless given.
    """

    def __init__(
        self,
        source: PixelSource,
        sampler: Sampler,
        transform: Transform,
        augment: Augmentation,
        device: torch.device,
        views: int = 1,
        outliers: Batches | None = None,
        stream: str = "augment",
        class_weights: Tensor | None = None,
    ) -> None:
        self.source, self.sampler, self.transform, self.augment = source, sampler, transform, augment
        self.device, self.views, self.outliers, self.stream = device, views, outliers, stream
        self.class_weights = class_weights

    @property
    def steps(self) -> int:
        """Number of steps of the whole training."""
        return self.sampler.steps_per_epoch * self.sampler.epochs

    def start(self, step: int) -> Iterator[Batch]:
        """Batches from `step`, counted from 0, to the end of the last epoch."""
        every = self.source.labels
        # The source may be several steps ahead.
        ahead, order = tee(self.sampler.whole(number) for number in range(step, self.steps))
        source = self.source(map(self.sampler.share, ahead))
        beside = repeat(None) if self.outliers is None else self.outliers.start(step)
        for number, (index, (images, labels), other) in enumerate(zip(order, source, beside), start=step):
            images, labels = sent(images, self.device), there(labels, self.device)
            weights = self._weights(index, every[index])
            yield Batch(
                views=tuple(self._view(images, number, view) for view in range(self.views)),
                labels=labels,
                epoch=number // self.sampler.steps_per_epoch + 1,
                epochs=self.sampler.epochs,
                generator=self._generator("method", number),
                # Of averages over the own images, that over processes is the one over all.
                weights=None
                if weights is None
                else there(self.sampler.share(weights), self.device) * self.sampler.world,
                outliers=None if other is None else other.images,
                whole=every[index],
            )

    def _weights(self, index: Tensor, labels: Tensor) -> Tensor | None:
        """What the images of a step, of all processes, count in averages, with the sum 1; None if all alike."""
        weights = self.sampler.weights(index)
        if self.class_weights is None:
            return weights
        of_class = self.class_weights[labels]
        weights = of_class if weights is None else of_class * weights
        return weights / weights.sum()

    def plain(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Every real image once, un-augmented and in order, in blocks of normalised images and labels."""
        for images, labels in self.source(iter(torch.arange(self.sampler.images).split(self.sampler.batch_size))):
            images = self.transform.device(self.transform.center(sent(images, self.device)))
            yield images.contiguous(memory_format=torch.channels_last), there(labels, self.device)

    def _view(self, images: Tensor, step: int, view: int) -> Tensor:
        images = self.transform.device(self.augment(images, self._generator(self.stream, step, view)))
        return images.contiguous(memory_format=torch.channels_last)

    def _generator(self, *path: str | int) -> Generator:
        draws = Shared(self.device)
        draws.rank, draws.world = self.sampler.rank, self.sampler.world
        return draws.manual_seed(subseed(self.sampler.seed, *path, 0))


def training_batches(
    image_set: ImageSet,
    transform: Transform,
    augment: Augmentation,
    *,
    batch_size: int,
    epochs: int,
    seed: int,
    device: torch.device,
    pool: ImageSet | None = None,
    mixing: Mixing | None = None,
    balanced: Literal["sampler", "weights"] | None = None,
    outliers: ImageSet | None = None,
    outlier_batch: int | None = None,
    views: int = 1,
    rank: int = 0,
    world: int = 1,
    memory_budget: int = 2**31,
    workers: int = 2,
    skip_corrupt: bool = False,
) -> Batches:
    """Batches from memory if the images fit `memory_budget` bytes, else streamed through worker processes.

    Arguments:
        image_set, transform, augment: What to show, at which size, and how.
        batch_size, epochs, seed, rank, world: Images per step over all processes, number of epochs, seed of the order,
            number of this process and number of processes; see `Sampler`.
        device, views: Where batches are made, and how many augmented copies of each image; see `Batches`.
        pool: Synthetic images of the same classes, if there are any.
        mixing: How synthetic images enter the batches; the defaults of `Mixing` unless given.
        balanced: How all classes are made to count alike, whatever their numbers of images: each is shown equally
            often (``sampler``), or images of rarer classes weigh more (``weights``). Neither unless given.
        outliers: Images of outliers, to go with every batch.
        outlier_batch: Number of outlier images in every batch; as many as there are images in the batch
            unless given.
        memory_budget: Bytes of decoded images to hold in memory.
        workers: Processes that decode where images are streamed.
        skip_corrupt: Leave out images that cannot be decoded.
    """
    if not image_set.pictures and augment != Compose():
        raise OutskirtsError(f"Tokens cannot be augmented, and {image_set.spec} holds tokens; pass --augment none.")
    sets = [image_set] if pool is None else [image_set, pool]
    source = image_source(sets, transform, device, memory_budget, workers, skip_corrupt, generator(seed, "workers"))
    # As many images for each process, as methods need that gather them.
    batch_size = min(batch_size, source.sizes[0]) // world * world
    if batch_size // world < 2:
        raise OutskirtsError(
            f"A batch of {batch_size} over {world} processes leaves fewer than 2 images each, too few for batch "
            "normalisation; use a larger --batch-size or more images."
        )
    shape = (source.sizes[0], batch_size, epochs, seed, rank, world)
    mixing = mixing or Mixing()
    sampler = _sampler(source, shape, None if pool is None else mixing, balanced == "sampler")
    weights = _class_weights(source, mixing) if balanced == "weights" else None
    beside = None
    if outliers is not None:
        draws = generator(seed, "beside")
        stored = image_source([outliers], transform, device, memory_budget, workers, skip_corrupt, draws)
        size = max(1, (outlier_batch or batch_size) // world) * world
        cycle = CyclicSampler(stored.sizes[0], size, epochs, seed, rank, world, sampler.steps_per_epoch)
        beside = Batches(stored, cycle, transform, augment, device, stream="augment outliers")
    return Batches(source, sampler, transform, augment, device, views, beside, class_weights=weights)


def _sampler(
    source: PixelSource, shape: tuple[int, int, int, int, int, int], mixing: Mixing | None, balanced: bool
) -> Sampler:
    """The order of the images: the first six arguments of `Sampler`, and how synthetic ones enter, if there are any."""
    seed, parts = shape[3], source.labels.split(list(source.sizes))
    if mixing is None:
        return BalancedSampler(*shape, draws=BalancedDraws(parts[0], seed)) if balanced else Sampler(*shape)
    draws = tuple(BalancedDraws(part, seed, f"balanced {name}") for part, name in zip(parts, ("real", "synthetic")))
    return MixedSampler(*shape, source.sizes[1], mixing, (draws[0], draws[1]) if balanced else None)


def _class_weights(source: PixelSource, mixing: Mixing) -> Tensor:
    """The weights by which all classes count alike in what the training shows, [C]."""
    parts = source.labels.split(list(source.sizes))
    classes = int(source.labels.max()) + 1
    shares = [torch.bincount(part, minlength=classes) / len(part) for part in parts]
    real = mixing.ratio if mixing.weight is None else mixing.weight
    return class_weights(shares[0] if len(shares) == 1 else real * shares[0] + (1 - real) * shares[1])
