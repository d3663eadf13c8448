r"""Means of two images of a class: nothing is learned.

.. math:: \lambda x_1 + (1 - \lambda) x_2, \quad \lambda \sim \mathrm{Beta}(a, a)

References:
    | mixup: Beyond Empirical Risk Minimization (Zhang et al., 2018), here within classes
    | https://arxiv.org/abs/1710.09412
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...bounds import Positive
from .base import Config, register
from .paired import Paired

__all__ = ["Mixup", "MixupConfig"]


@dataclass(frozen=True)
class MixupConfig(Config):
    """Mixup within classes."""

    beta: Positive = 1.0
    """Both parameters of the Beta distribution of the mixing shares, above 0."""


@register("mixup")
class Mixup(Paired[MixupConfig]):
    """Weighted means of two images of a class."""

    Config = MixupConfig

    def mix(self, one: Tensor, two: Tensor, draws: np.random.Generator) -> Tensor:
        share = draws.beta(self.config.beta, self.config.beta)
        return (share * one + (1 - share) * two).round().to(torch.uint8)
