"""LogitNorm: cross-entropy that cannot be lowered by growing logits, only by turning them.

References:
    | Mitigating Neural Network Overconfidence with Logit Normalization (Wei et al., 2022)
    | https://arxiv.org/abs/2205.09310
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..bounds import Positive
from ..data.loading.batches import Batch
from .averages import classification
from .base import Config, Method, register

__all__ = ["LogitNorm", "LogitNormConfig", "logit_norm"]


def logit_norm(logits: Tensor, temperature: float) -> Tensor:
    """Logits [B, C] brought to the length 1 / t."""
    return logits / ((logits.norm(dim=1, keepdim=True) + 1e-7) * temperature)


@dataclass(frozen=True)
class LogitNormConfig(Config):
    """LogitNorm."""

    temperature: Positive = 0.04
    """Temperature τ, above 0; in training, the norm of the logits is 1 / τ."""


@register("logitnorm")
class LogitNorm(Method[LogitNormConfig]):
    """Minimise the cross-entropy of logits of one length; the classifier's own logits stay as they are."""

    Config = LogitNormConfig

    def step(self, batch: Batch) -> dict[str, Tensor]:
        logits = logit_norm(self.classifier(batch.images).float(), self.config.temperature)
        return {"loss": classification(logits, batch.labels, batch.weights)}
