"""Generalised entropy of the softmax.

References:
    | GEN: Pushing the Limits of Softmax-Based Out-of-Distribution Detection (Liu, Lochman and Zach, 2023)
    | https://openaccess.thecvf.com/content/CVPR2023/html/Liu_GEN_Pushing_the_Limits_of_Softmax-Based_Out-of-Distribution_Detection_CVPR_2023_paper.html
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..bounds import Count, Positive
from ..extraction.outputs import Outputs
from .base import Detector, choices, register

__all__ = ["GEN", "generalized_entropy"]


def generalized_entropy(logits: Tensor, gamma: float = 0.1, top: int = 100) -> Tensor:
    r""":math:`\sum_{k \le M} p_k^\gamma (1 - p_k)^\gamma` over the M largest probabilities.

    Arguments:
        logits: [N, C].
        gamma: The exponent, above 0.
        top: M; more than C means all.

    Returns:
        Scores [N], float64, at least 0.
    """
    logits = logits.double()
    log_sum = logits.logsumexp(1, keepdim=True)
    log_p = (logits - log_sum).topk(min(top, logits.shape[1]), dim=1).values
    # A small gamma weighs 1 - p of 1e-17 as 0.02: of the largest p it is therefore summed from the others.
    others = logits.scatter(1, logits.argmax(1, keepdim=True), -math.inf)
    log_q = torch.cat([others.logsumexp(1, keepdim=True) - log_sum, (-log_p[:, 1:].exp()).log1p()], dim=1)
    return (gamma * (log_p + log_q)).exp().sum(1)


@register("gen")
class GEN(Detector):
    """Generalised entropy.

    Arguments:
        gamma: The exponent, above 0; the smaller, the more the small probabilities count.
        top: How many of the largest probabilities to sum over, at least 1 and at most all.
    """

    of_softmax = True
    grid = choices(gamma=(0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0), top=(10, 50, 100, 200, 500, 1000))

    def __init__(self, gamma: Positive = 0.1, top: Count = 100) -> None:
        super().__init__()
        self.gamma = gamma
        self.top = top

    def score(self, outputs: Outputs) -> Tensor:
        return generalized_entropy(outputs.need("logits", self.name), self.gamma, self.top)
