r"""T2FNorm: features of one length in training, features as they are in scoring.

.. math:: L = \mathrm{CE}\Big( W \frac{h}{\tau \lVert h \rVert} + b, \; y \Big)

The network cannot lower this loss by longer features. A trained one gives its images longer features than others all
the same, and the logits of scoring, :math:`W h / \tau + b`, see that. The published score is their largest softmax
probability.

OpenOOD takes its predictions, and so its accuracy, from the logits of training; here both come from those of scoring,
which differ by how much the bias counts.

References:
    | T2FNorm: Train-time Feature Normalization for OOD Detection in Image Classification (Regmi et al., 2023)
    | https://arxiv.org/abs/2305.17797
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..bounds import Positive
from ..data.loading.batches import Batch
from ..models.heads import LinearHead, UnitInTraining
from .averages import classification
from .base import Config, Method, register

__all__ = ["T2FNorm", "T2FNormConfig"]


@dataclass(frozen=True)
class T2FNormConfig(Config):
    """T2FNorm."""

    temperature: Positive = 0.1
    """Temperature τ, above 0; in training, the norm of the features is 1 / τ."""


@register("t2fnorm")
class T2FNorm(Method[T2FNormConfig]):
    """Minimise the cross-entropy of features that are scaled to one length in training only."""

    Config = T2FNormConfig

    @classmethod
    def head(cls, config: T2FNormConfig, dim: int, classes: int) -> nn.Module:
        return LinearHead(nn.Linear(dim, classes), UnitInTraining(config.temperature))

    @classmethod
    def detectors(cls, config: T2FNormConfig) -> Sequence[Mapping[str, Any]]:
        return ({"name": "msp"},)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": classification(self.classifier(batch.images), batch.labels, batch.weights)}
