"""Which images make up each training step, as a function of the run's seed and the step."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor

from ...seeding import generator
from .balance import BalancedDraws

__all__ = ["BalancedSampler", "CyclicSampler", "Sampler", "order"]


@dataclass(frozen=True)
class Sampler:
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
        return self.share(self.whole(step))

    def whole(self, step: int) -> Tensor:
        """The images of all processes at a step."""
        epoch, k = divmod(step, self.steps_per_epoch)
        return order(self.images, self.seed, epoch)[k * self.batch_size : (k + 1) * self.batch_size]

    def share(self, rows: Tensor) -> Tensor:
        """This process's rows of all."""
        return rows[self.rank :: self.world]

    def weights(self, index: Tensor) -> Tensor | None:
        """What the images of a step, of all processes, count in averages, with the sum 1; None if all alike."""
        return None


@dataclass(frozen=True)
class BalancedSampler(Sampler):
    """As many steps as with `Sampler`, in which all classes are shown equally often.

    Arguments:
        draws: Which images these are.
    """

    draws: BalancedDraws = field(kw_only=True)

    def whole(self, step: int) -> Tensor:
        return self.draws(torch.arange(step * self.batch_size, (step + 1) * self.batch_size))


@dataclass(frozen=True)
class CyclicSampler(Sampler):
    """Which images of a set of any size accompany each step of another plan: all of them, in a new order each time they
    are used up.

    Arguments:
        steps: Steps in an epoch of the other plan.
    """

    steps: int = 1

    @property
    def steps_per_epoch(self) -> int:
        return self.steps

    def whole(self, step: int) -> Tensor:
        drawn = torch.arange(step * self.batch_size, (step + 1) * self.batch_size)
        images = drawn.clone()
        for turn in (drawn // self.images).unique().tolist():
            now = drawn // self.images == turn
            images[now] = order(self.images, self.seed, turn, "accompanying")[drawn[now] % self.images]
        return images


@lru_cache(maxsize=8)
def order(images: int, seed: int, epoch: int, *path: str) -> Tensor:
    """The order of so many images in an epoch, [N]."""
    return torch.randperm(images, generator=generator(seed, "order", epoch, *path))
