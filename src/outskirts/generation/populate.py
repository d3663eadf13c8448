"""Filling a pool: images of every class alike, drawn until enough are kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from .. import grouped
from ..arguments import check_arguments
from ..bounds import Count
from ..data.imageset import ImageSet
from ..data.sources.pool import PoolWriter
from ..errors import OutskirtsError
from ..texts import counted, verb

__all__ = ["populate"]

#: Of the images of a class, less than one in so many kept is hopeless.
_HOPELESS = 50


class Sampling(Protocol):
    """Images of given classes, as `outskirts.generation.generators.ImageGenerator.sample` makes them."""

    def sample(self, labels: Tensor, numbers: Tensor, seed: int) -> Tensor:
        """Images, uint8 [n, C, S, S]."""


@check_arguments
def populate(
    pool: PoolWriter,
    generator: Sampling,
    *,
    seed: int,
    batch: Count = 256,
    keep: Callable[[ImageSet], Tensor] = lambda images: torch.ones(len(images), dtype=torch.bool),
    progress: Callable[[int], None] = lambda done: None,
) -> None:
    """Fill a pool with as many images of each class, to within one.

    What is drawn depends on the seed and on what the pool holds already, so that a stopped call can be repeated.

    Arguments:
        pool: New, or partly filled.
        generator: A fitted generator, which makes the images.
        seed: Seed of the images.
        batch: Images to draw at once.
        keep: Which of some images to keep, bool [n].
        progress: Called with the images in the pool.

    Raises:
        OutskirtsError: If hardly any image of a class is kept.
    """
    classes, count = len(pool.classes), len(pool.labels)
    quota = torch.tensor([count // classes + (c < count % classes) for c in range(classes)])
    while pool.done < count:
        missing = quota - torch.bincount(pool.written, minlength=classes)
        if bool((missing < 0).any()):
            raise OutskirtsError(
                f"The unfinished pool {pool.folder} has more images of a class than it was to have, so its labels.npy "
                "is damaged; remove the folder, and give the command again."
            )
        labels = _in_turn(missing)[:batch]
        numbers = pool.drawn[labels] + grouped.ranks(labels, classes)
        images = _checked(generator.sample(labels, numbers, seed), len(labels))
        kept = keep(ImageSet(images.movedim(1, 3).squeeze(3).numpy(), labels, pool.classes))
        pool.add(images[kept], labels[kept], labels)
        progress(pool.done)
        drawn = int(pool.drawn.sum())
        if drawn > _HOPELESS * (pool.done + batch):
            worst = int(missing.argmax())
            raise OutskirtsError(
                f"Of {counted(drawn, 'image')}, {pool.done} {verb(pool.done, 'were')} kept. "
                f"{counted(int(missing[worst]), 'image')} of "
                f"'{pool.classes[worst]}' are still missing; train the generator longer, ask for fewer (--count), "
                "or loosen the rules that reject images."
            )


def _checked(images: Any, count: int) -> Tensor:
    if not isinstance(images, Tensor) or images.dtype != torch.uint8 or images.ndim != 4 or len(images) != count:
        kind = type(images).__name__
        what = f"a tensor of shape {tuple(images.shape)}, {images.dtype}" if isinstance(images, Tensor) else f"a {kind}"
        raise OutskirtsError(f"The generator gave {what}; it must give {count} images, as uint8 [n, C, S, S].")
    return images


def _in_turn(counts: Tensor) -> Tensor:
    """Labels, each so often as its count says, one of every class after the other."""
    labels = torch.repeat_interleave(counts)
    return labels[(grouped.ranks(labels, len(counts)) * len(counts) + labels).argsort()]
