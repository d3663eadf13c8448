"""Maximum logit.

References:
    | Scaling Out-of-Distribution Detection for Real-World Settings (Hendrycks et al., 2022)
    | https://arxiv.org/abs/1911.11132
"""

from __future__ import annotations

from torch import Tensor

from ..extraction.outputs import Outputs
from .base import Detector, register

__all__ = ["MaxLogit", "max_logit"]


def max_logit(logits: Tensor) -> Tensor:
    r"""The negative largest logit, :math:`-\max_k z_k`.

    Arguments:
        logits: [N, C].

    Returns:
        Scores [N], float64.
    """
    return -logits.double().amax(1)


@register("max_logit")
class MaxLogit(Detector):
    """Maximum logit: what the softmax's normalisation hides."""

    def score(self, outputs: Outputs) -> Tensor:
        return max_logit(outputs.need("logits", self.name))
