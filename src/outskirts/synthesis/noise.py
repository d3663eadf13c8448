"""Gaussian noise that is added to points of several classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Generator, Tensor

from ..neighbours.cosine import Scratch
from ..seeding import on_host

__all__ = ["MirroredNoise", "SharedNoise"]


class SharedNoise:
    """One matrix for all classes and points.

    Arguments:
        points: P, of every class.
        shape: Vectors for a point and their dimensions, (L, D).
        sigma: Standard deviation.
        generator: Generator on the device of `like`.
        like: What the noise has the device and type of.
    """

    def __init__(self, points: int, shape: tuple[int, int], sigma: float, generator: Generator, like: Tensor) -> None:
        self.points = torch.arange(points, device=like.device)
        self.signs = like.new_ones(points)
        self.noise = like.new_empty(shape).normal_(std=sigma, generator=generator)

    def of(self, classes: range) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """What to add to which points of some classes.

        Arguments:
            classes: Numbers of the classes.

        Yields:
            Numbers of points [p], the sign that the noise has for each of them [p], and the noise [c, L, D].
        """
        yield self.points, self.signs, self.noise.expand(len(classes), -1, -1)


class MirroredNoise:
    """A matrix for each pair of points of a class, of which the second has it with its sign turned.

    Each pair has its own seed, so that what is drawn depends neither on the classes drawn for at once nor on threads.

    Arguments:
        classes: Number of classes.
        points, shape, sigma, generator, like: Points of every class, vectors and dimensions of a point's noise,
            standard deviation, generator, and a tensor whose device and type the noise has; see `SharedNoise`.
    """

    def __init__(
        self, classes: int, points: int, shape: tuple[int, int], sigma: float, generator: Generator, like: Tensor
    ) -> None:
        self.pairs = torch.arange(points, device=like.device).split(2)
        self.signs = 1 - 2 * torch.arange(2, device=like.device, dtype=like.dtype)
        self.seeds = torch.randint(2**62, (len(self.pairs), classes), generator=on_host(generator))
        self.draws = generator.clone_state()
        self.shape, self.sigma, self.like, self.memory = shape, sigma, like, Scratch()

    def of(self, classes: range) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """As `SharedNoise.of`, pair by pair; the noise is overwritten by that of the next pair."""
        for points, seeds in zip(self.pairs, self.seeds[:, classes.start : classes.stop].tolist()):
            noise = self.memory.take((len(seeds), *self.shape), self.like)
            _fill(noise, seeds, self.sigma, self.draws)
            yield points, self.signs[: len(points)], noise


def _fill(blocks: Tensor, seeds: Sequence[int], sigma: float, draws: Generator) -> None:
    if blocks.device.type != "cpu":
        for block, seed in zip(blocks, seeds):
            block.normal_(std=sigma, generator=draws.manual_seed(seed))
        return

    def fill(block: Tensor, seed: int) -> None:
        block.normal_(std=sigma, generator=Generator().manual_seed(seed))

    # Torch itself draws with one thread.
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(fill, blocks, seeds))
