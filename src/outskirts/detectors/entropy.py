"""Entropy of the softmax.

References:
    | Predictive uncertainty by the entropy of the predicted distribution; compared for OOD detection in
      Generalized Out-of-Distribution Detection: A Survey (Yang et al., 2024)
    | https://arxiv.org/abs/2110.11334
"""

from __future__ import annotations

from torch import Tensor

from ..extraction.outputs import Outputs
from .base import Detector, register

__all__ = ["Entropy"]


@register("entropy")
class Entropy(Detector):
    """Shannon entropy of the softmax, in nats."""

    of_softmax = True

    def score(self, outputs: Outputs) -> Tensor:
        log_p = outputs.need("logits", self.name).double().log_softmax(1)
        return -(log_p.exp() * log_p).sum(1)
