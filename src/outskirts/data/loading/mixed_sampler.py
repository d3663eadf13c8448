r"""Training steps made of real and of synthetic images of the same classes.

The synthetic share of a step is exact in the long run: what rounding owes at one step, a later one pays. Real images
are drawn anew in every epoch and none twice in it, and so are synthetic ones while there are enough; a pool that runs
out is gone through again, in a new order.

The published sampler, ``legacy``, cuts every step's number of real images off to a whole number, orders the images of
a step by a second generator, and lets steps become smaller once the pool runs out.

References:
    | SIO: Synthetic In-Distribution Data Benefits Out-of-Distribution Detection (Zhang et al., 2023)
    | https://arxiv.org/abs/2303.14531
    | https://github.com/zjysteven/SIO
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import ceil, floor
from typing import Literal

import numpy as np
import torch
from torch import Generator, Tensor

from ...errors import OutskirtsError
from ...seeding import generator, subseed
from .balance import BalancedDraws
from .sampler import Sampler, order

__all__ = ["MixedSampler", "Mixing", "legacy_epoch"]


@dataclass(frozen=True)
class Mixing:
    """How synthetic images enter the batches.

    Arguments:
        ratio: Share r of real images in a batch, above 0, at most 1.
        mode: ``replace`` real images, so that a step costs what it does without; ``add`` to them; or ``legacy``.
        epoch: ``steps`` for as many as with the real images alone; ``real`` for as many as show each of them once.
        weight: α, of the mean loss of the real images, beside 1 - α of the synthetic; None for what their numbers
            give, a plain mean over the batch.
    """

    ratio: float = 0.8
    mode: Literal["replace", "add", "legacy"] = "replace"
    epoch: Literal["steps", "real"] = "steps"
    weight: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.ratio <= 1:
            raise OutskirtsError(f"The share of real images must be above 0 and at most 1, not {self.ratio}.")
        if self.weight is not None and not 0 <= self.weight <= 1:
            raise OutskirtsError(f"The weight of real images must be a share from 0 to 1, not {self.weight}.")


@dataclass(frozen=True)
class MixedSampler(Sampler):
    """Which images make up each step: numbers below `images` are real, those from there on synthetic.

    Arguments:
        images, batch_size, epochs, seed, rank, world: Number of real images, images per step (with ``add`` the real
            ones alone), number of epochs, seed of the order, number of this process and number of processes; see
            `Sampler`.
        synthetic: Images in the pool.
        mixing: How synthetic images enter the batches.
        balanced: Draws among the real and among the synthetic images, where all classes are to be shown equally often.
    """

    synthetic: int = 0
    mixing: Mixing = Mixing()
    balanced: tuple[BalancedDraws, BalancedDraws] | None = None

    def __post_init__(self) -> None:
        share = self.batch_size * (1 - self._ratio)
        most = ceil(share if self.mixing.mode == "replace" else share / self._ratio)
        if self.mixing.mode != "legacy" and most > self.synthetic:
            raise OutskirtsError(
                f"A batch takes up to {most} synthetic images, but there are only {self.synthetic}; make "
                "more, or raise --real-ratio."
            )

    @property
    def steps_per_epoch(self) -> int:
        if self.mixing.mode == "legacy":
            return -(-self.images // self.batch_size)
        if self.mixing.mode == "replace" and self.mixing.epoch == "real":
            return max(1, floor(self.images / (self.batch_size * self._ratio)))
        return super().steps_per_epoch

    def whole(self, step: int) -> Tensor:
        epoch, k = divmod(step, self.steps_per_epoch)
        if self.mixing.mode == "legacy":
            batch = _legacy(self, epoch)[k]
            if not len(batch):
                raise OutskirtsError(
                    f"With --mixing legacy, the pool of {self.synthetic} images is used up at step {k + 1} of "
                    "an epoch. Make more images, or leave out --mixing legacy, so that images are used again."
                )
            # Processes must have as many images each.
            return batch[: len(batch) // self.world * self.world]
        if self.balanced is not None:
            real, made = (
                draws(torch.arange(before(step), before(step + 1)))
                for draws, before in zip(self.balanced, (self._real, self._pool))
            )
            return self._arranged(torch.cat([real, self.images + made]), step)
        first = step - k
        real = order(self.images, self.seed, epoch)[
            slice(*(self._real(s) - self._real(first) for s in (step, step + 1)))
        ]
        drawn = torch.arange(*(self._pool(s) - self._pool(first) for s in (step, step + 1)))
        return self._arranged(torch.cat([real, self.images + self._synthetic(drawn, epoch)]), step)

    def weights(self, index: Tensor) -> Tensor | None:
        if self.mixing.weight is None:
            return None
        real = index < self.images
        shares = torch.where(real, self.mixing.weight / real.sum(), (1 - self.mixing.weight) / (~real).sum())
        # Where one kind is missing, the other has all the weight; and where that is none, all count alike.
        total = shares.sum()
        return shares / total if total > 0 else torch.full_like(shares, 1 / len(shares))

    @property
    def _ratio(self) -> Fraction:
        # As it is written: the nearest binary number to 0.29 is a little less.
        return Fraction(repr(self.mixing.ratio))

    def _real(self, step: int) -> int:
        """Real images before a step, over all epochs."""
        share = 1 if self.mixing.mode == "add" else self._ratio
        return floor(step * self.batch_size * share + Fraction(1, 2))

    def _pool(self, step: int) -> int:
        """Synthetic images before a step, over all epochs."""
        if self.mixing.mode == "replace":
            return step * self.batch_size - self._real(step)
        # As many for each process, as methods need that gather them.
        added = step * self.batch_size * (1 - self._ratio) / self._ratio
        return self.world * floor(added / self.world + Fraction(1, 2))

    def _synthetic(self, drawn: Tensor, epoch: int) -> Tensor:
        """The images of the pool that are drawn as these of an epoch."""
        rounds = drawn // max(1, self.synthetic)
        images = drawn.clone()
        for n in rounds.unique().tolist():
            now = rounds == n
            images[now] = order(self.synthetic, self.seed, epoch, f"synthetic {n}")[drawn[now] % self.synthetic]
        return images

    def _arranged(self, batch: Tensor, step: int) -> Tensor:
        """The same in an order that says nothing of the kind."""
        return batch[torch.randperm(len(batch), generator=generator(self.seed, "arrangement", step, 0))]


@lru_cache(maxsize=2)
def _legacy(sampler: MixedSampler, epoch: int) -> list[Tensor]:
    draws = generator(sampler.seed, "legacy", epoch)
    shuffles = np.random.RandomState(subseed(sampler.seed, "legacy", epoch) % 2**32)
    return legacy_epoch(sampler.images, sampler.synthetic, sampler.batch_size, sampler.mixing.ratio, draws, shuffles)


def legacy_epoch(
    images: int, synthetic: int, batch_size: int, ratio: float, draws: Generator, shuffles: np.random.RandomState
) -> list[Tensor]:
    """The steps of an epoch as the published sampler makes them, to the bit if the generators are those it uses.

    Arguments:
        images: Real images, numbered from 0.
        synthetic: Synthetic images, numbered from `images`.
        batch_size: B.
        ratio: r; a step has ⌊B·r⌋ real images, in the arithmetic of floats.
        draws: Orders real and synthetic images.
        shuffles: Orders the images of a step.
    """
    real = int(batch_size * ratio)
    orders = [torch.randperm(count, generator=draws) + start for count, start in ((images, 0), (synthetic, images))]
    sizes = (real, batch_size - real)
    batches = []
    for k in range(-(-images // batch_size)):
        batch = torch.cat([order[k * size : (k + 1) * size] for order, size in zip(orders, sizes)]).numpy()
        shuffles.shuffle(batch)
        batches.append(torch.from_numpy(batch))
    return batches
