"""Generators that put two training images of a class together."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Generic, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from ...data.imageset import ImageSet
from ...data.transform import Transform
from ...training.loop import TrainingProgress
from .base import Config, ImageGenerator

__all__ = ["Paired"]

C = TypeVar("C", bound=Config)


class Paired(ImageGenerator[C], Generic[C]):
    """Two different images of the class, drawn at random, and how they are mixed; of a class of one image, that one."""

    def fit(self, images: ImageSet, transform: Transform, folder: Path, progress: TrainingProgress) -> Self:
        self.images, labels = images.resident(transform)
        self.rows = [(labels == c).nonzero().flatten() for c in range(len(images.classes))]
        return self

    def sample(self, labels: Tensor, numbers: Tensor, seed: int) -> Tensor:
        seeds = self.seeds(labels, numbers, seed)
        return torch.stack([self._one(label, own) for label, own in zip(labels.tolist(), seeds)])

    def _one(self, label: int, seed: int) -> Tensor:
        draws, rows = np.random.default_rng(seed), self.rows[label]
        one, two = (self.images[rows[place]] for place in _pair(draws, len(rows)))
        return self.mix(one, two, draws)

    @abstractmethod
    def mix(self, one: Tensor, two: Tensor, draws: np.random.Generator) -> Tensor:
        """One image of two, uint8 [C, S, S]."""


def _pair(draws: np.random.Generator, count: int) -> tuple[int, int]:
    if count == 1:
        return 0, 0
    first, other = int(draws.integers(count)), int(draws.integers(count - 1))
    return first, other + (other >= first)
