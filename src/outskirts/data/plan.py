"""Which images make up each training step, as a function of the run's seed and the step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ..seeding import generator

__all__ = ["Plan", "order"]


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
        whole = order(self.images, self.seed, epoch)
        return whole[k * self.batch_size : (k + 1) * self.batch_size][self.rank :: self.world]

    def weights(self, index: Tensor) -> Tensor | None:
        """What the images of a step count in averages, with the sum 1; None if all alike."""
        return None


@lru_cache(maxsize=8)
def order(images: int, seed: int, epoch: int, *path: str) -> Tensor:
    """The order of so many images in an epoch, [N]."""
    return torch.randperm(images, generator=generator(seed, "order", epoch, *path))
