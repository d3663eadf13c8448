"""Plain cross-entropy: the baseline of every comparison."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..bounds import Share
from ..data.loading.batches import Batch
from .averages import classification
from .base import Config, Method, register

__all__ = ["CE", "CEConfig"]


@dataclass(frozen=True)
class CEConfig(Config):
    """Cross-entropy."""

    label_smoothing: Share = 0.0
    """Label smoothing: probability spread evenly over all classes in the target, from 0 to 1."""


@register("ce")
class CE(Method[CEConfig]):
    """Minimise the cross-entropy of the labels."""

    Config = CEConfig

    def step(self, batch: Batch) -> dict[str, Tensor]:
        logits = self.classifier(batch.images)
        return {"loss": classification(logits, batch.labels, batch.weights, self.config.label_smoothing)}
