"""Maximum softmax probability.

References:
    | A Baseline for Detecting Misclassified and Out-of-Distribution Examples in Neural Networks
      (Hendrycks and Gimpel, 2017)
    | https://arxiv.org/abs/1610.02136
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ..extraction.outputs import Outputs
from .base import Detector, register

__all__ = ["MSP", "msp"]


def msp(logits: Tensor) -> Tensor:
    r"""The negative logarithm of the largest softmax probability, :math:`-\max_k \log p_k`.

    It ranks like :math:`1 - \max_k p_k` but has no plateau: a float32 softmax is exactly 1 from a logit gap
    of about 17 on, which ties thousands of confident images. Summed from the classes that are not predicted,
    neither the value nor its gradient is lost in rounding.

    Arguments:
        logits: [N, C].

    Returns:
        Scores [N], at least 0.
    """
    predicted = logits.argmax(1, keepdim=True)
    gaps = (logits - logits.gather(1, predicted)).scatter(1, predicted, -torch.inf)
    return softplus(gaps.logsumexp(1))


@register("msp")
class MSP(Detector):
    """Maximum softmax probability: the baseline."""

    of_softmax = True

    def score(self, outputs: Outputs) -> Tensor:
        return msp(outputs.need("logits", self.name).double())
