r"""RotPred: tell classes, and by how many quarters of a circle an image is turned.

.. math:: L = \mathrm{CE}(z, y) + w \, \frac{1}{4} \sum_{k=0}^{3} \mathrm{CE}\big( r(x_k), k \big)

where x_k is the image turned by k quarters, of which only the one that is not turned is classified. All four go through
the network together, so a step costs four. The published score is the detector ``rotation``.

References:
    | Using Self-Supervised Learning Can Improve Model Robustness and Uncertainty (Hendrycks et al., 2019)
    | https://arxiv.org/abs/1906.12340
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..bounds import NonNegative
from ..data.loading.batches import Batch
from ..models.heads import RotationHead, turned
from .averages import classification
from .base import Config, Method, register

__all__ = ["RotPred", "RotPredConfig"]


@dataclass(frozen=True)
class RotPredConfig(Config):
    """RotPred."""

    rotation_weight: NonNegative = 1.0
    """Weight w of the loss on rotations, at least 0; published as 1, and 0 disables it."""


@register("rotpred")
class RotPred(Method[RotPredConfig]):
    """Cross-entropy on classes, and on rotations of the images."""

    Config = RotPredConfig

    @classmethod
    def head(cls, config: RotPredConfig, dim: int, classes: int) -> nn.Module:
        return RotationHead(nn.Linear(dim, classes), nn.Linear(dim, 4))

    @classmethod
    def detectors(cls, config: RotPredConfig) -> Sequence[Mapping[str, Any]]:
        return ({"name": "rotation"},)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        head, count = self.classifier.head, len(batch.images)
        assert isinstance(head, RotationHead)
        features = self.classifier.features(torch.cat(turned(batch.images)))
        turns = torch.arange(4, device=features.device).repeat_interleave(count)
        weights = None if batch.weights is None else batch.weights.repeat(4) / 4
        loss_id = classification(head(features[:count]), batch.labels, batch.weights)
        loss_rotation = classification(head.rotation(features), turns, weights)
        return {
            "loss": loss_id + self.config.rotation_weight * loss_rotation,
            "loss_id": loss_id.detach(),
            "loss_rotation": loss_rotation.detach(),
        }
