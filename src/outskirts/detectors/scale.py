"""Activation scaling.

References:
    | Scaling for Training Time and Post-hoc Out-of-distribution Detection Enhancement (Xu et al., 2024)
    | https://arxiv.org/abs/2310.00227
"""

from __future__ import annotations

from torch import Tensor

from ..bounds import PartPerCent
from .base import choices, register
from .common.shaping import ShapingDetector, kept_count, scaling

__all__ = ["Scale"]


@register("scale")
class Scale(ShapingDetector):
    r"""The score of features scaled up by how little their largest activations are of their sum.

    The factor is :math:`\exp(s_1 / s_2)`, with the sum :math:`s_1` of all activations of an image and that of its
    largest, :math:`s_2`.

    Arguments:
        percentile: Share of the activations that is not among the largest, from 0 to below 100; published grid 65, 70,
            …, 95.
        scorer: The detector that scores the logits; the free energy, as published.
    """

    grid = choices(percentile=(65.0, 70.0, 75.0, 80.0, 85.0, 90.0, 95.0))

    def __init__(self, percentile: PartPerCent = 85.0, scorer: str = "energy") -> None:
        super().__init__(scorer)
        self.percentile = percentile

    def shape(self, features: Tensor) -> Tensor:
        top = features.topk(kept_count(features.shape[1], self.percentile), dim=1).values
        return features * scaling(features.sum(1, keepdim=True), top.sum(1, keepdim=True))
