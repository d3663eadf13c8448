r"""Supervised contrastive learning, the baseline that CIDER is compared with.

Samples of one class attract each other, all others repel; no prototypes take part. Those of the head follow the
projections without a gradient, so that the classifier has logits: the cosines to its class means.

The published loss is multiplied by τ / 0.07; here that is ``contrast_weight``.

References:
    | Supervised Contrastive Learning (Khosla et al., 2020)
    | https://arxiv.org/abs/2004.11362
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..bounds import NonNegative, Share
from ..data.loading.batches import Batch
from ..devices import full_precision
from ..distributed import gather
from .base import register
from .embedding import SCRATCH, Embedding, EmbeddingConfig
from .hypersphere import mean_update, supervised_contrast

__all__ = ["SupCon", "SupConConfig"]


@dataclass(frozen=True)
class SupConConfig(EmbeddingConfig):
    """Supervised contrastive learning."""

    prototype_momentum: Share = 0.99
    """Momentum of the prototypes, from 0 to 1: the share of a prototype that stays when the batch moves it."""
    contrast_weight: NonNegative = 0.1 / 0.07
    """Weight of the contrastive loss, at least 0; 0.1 / 0.07 in the published code."""


@register("supcon")
class SupCon(Embedding[SupConConfig]):
    """Draw images of a class to each other and away from all others."""

    Config = SupConConfig
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "cifar10": {**SCRATCH},
        "cifar100": {**SCRATCH, "backbone": "resnet34-cifar", "neighbours": 300},
        # At two views, the cost of CIDER's.
        "quick": {"epochs": 8},
    }

    def step(self, batch: Batch) -> dict[str, Tensor]:
        _, projections, labels = self.embed(batch)
        projections, labels = gather(projections), gather(labels)
        with full_precision(projections):
            weights = None if batch.view_weights is None else gather(batch.view_weights)
            contrast = supervised_contrast(projections, labels, self.config.temperature, weights)
        with torch.no_grad():
            head = self.sphere
            head.prototypes.copy_(mean_update(head.prototypes, projections, labels, self.config.prototype_momentum))
        return {"loss": self.config.contrast_weight * contrast, **self.geometry(projections, labels)}
