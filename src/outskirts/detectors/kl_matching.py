"""KL divergence to the typical prediction of a class.

References:
    | Scaling Out-of-Distribution Detection for Real-World Settings (Hendrycks et al., 2022)
    | https://arxiv.org/abs/1911.11132
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..extraction.outputs import Outputs
from .base import Detector, register
from .common.inputs import require_images

__all__ = ["KLMatching", "divergence", "templates"]


def templates(logits: Tensor) -> Tensor:
    """The mean softmax of the images predicted as each class, for classes that are predicted at all, [C', C], float64.

    Arguments:
        logits: [N, C].
    """
    probabilities = logits.double().softmax(1)
    present, index = logits.argmax(1).unique(return_inverse=True)
    sums = probabilities.new_zeros(len(present), logits.shape[1]).index_add_(0, index, probabilities)
    return sums / index.bincount()[:, None]


def divergence(logits: Tensor, means: Tensor) -> Tensor:
    """The Kullback–Leibler divergence of each softmax from the nearest of some distributions.

    Arguments:
        logits: [N, C].
        means: [C', C], float64.

    Returns:
        [N], float64.
    """
    log_p = logits.double().log_softmax(1)
    p = log_p.exp()
    # A class that is never predicted near a template has a mean that underflows.
    cross = p @ means.clamp_min(torch.finfo(means.dtype).tiny).log().T
    return (p * log_p).sum(1) - cross.amax(1)


@register("kl_matching")
class KLMatching(Detector):
    """KL divergence of the softmax from the nearest mean softmax of validation images that are predicted alike."""

    of_softmax = True
    fit_on = "val"
    means: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("means", None)

    def fit(self, outputs: Outputs) -> KLMatching:
        require_images(outputs, self.name)
        self.means = templates(outputs.need("logits", self.name))
        return self

    def score(self, outputs: Outputs) -> Tensor:
        return divergence(outputs.need("logits", self.name), self.require("means"))
