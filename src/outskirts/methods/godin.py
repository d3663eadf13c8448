"""Generalised ODIN: logits that are a quotient, of which the numerator tells what is out of the distribution.

* In OpenOOD the head's learning rate stays high, as its scheduler moves another optimiser; here all parameters follow
  the schedule.
* Published without weight decay on h; here h is of cosines, which do not change with the weights' length.

References:
    | Generalized ODIN: Detecting Out-of-distribution Image without Learning from Out-of-distribution Data
      (Hsu et al., 2020)
    | https://arxiv.org/abs/2002.11297
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..data.loading.batches import Batch
from ..models.heads import DividedHead
from .averages import classification
from .base import Config, Method, register

__all__ = ["GODIN", "GODINConfig"]


@dataclass(frozen=True)
class GODINConfig(Config):
    """Generalised ODIN."""


@register("godin")
class GODIN(Method[GODINConfig]):
    """Minimise the cross-entropy of logits that are divided by a number the features decide."""

    Config = GODINConfig

    @classmethod
    def head(cls, config: GODINConfig, dim: int, classes: int) -> nn.Module:
        return DividedHead(dim, classes)

    @classmethod
    def detectors(cls, config: GODINConfig) -> Sequence[Mapping[str, Any]]:
        return ({"name": "godin"},)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": classification(self.classifier(batch.images), batch.labels, batch.weights)}
