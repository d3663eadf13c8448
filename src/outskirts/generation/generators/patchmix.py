"""A grid of patches, each taken from one of two images of a class: nothing is learned.

References:
    | CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features (Yun et al., 2019), here
    | within classes and over a grid
    | https://arxiv.org/abs/1905.04899
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...bounds import Count
from .base import Config, register
from .paired import Paired

__all__ = ["PatchMix", "PatchMixConfig"]


@dataclass(frozen=True)
class PatchMixConfig(Config):
    """Patches of two images of a class."""

    grid: Count = 2
    """Number of patches along each side of an image, at least 1."""


@register("patchmix")
class PatchMix(Paired[PatchMixConfig]):
    """Patches of two images of a class."""

    Config = PatchMixConfig

    def mix(self, one: Tensor, two: Tensor, draws: np.random.Generator) -> Tensor:
        taken = torch.from_numpy(draws.random((self.config.grid, self.config.grid)) < 0.5)
        size = one.shape[-1]
        cell = torch.arange(size) * self.config.grid // size
        return torch.where(taken[cell][:, cell], one, two)
