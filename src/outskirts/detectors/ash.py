"""Activation shaping.

References:
    | Extremely Simple Activation Shaping for Out-of-Distribution Detection (Djurisic et al., 2023)
    | https://arxiv.org/abs/2209.09858
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from ..bounds import PartPerCent
from .base import choices, register
from .common.shaping import ShapingDetector, kept_count, scaling

__all__ = ["ASH"]


@register("ash")
class ASH(ShapingDetector):
    r"""The score of each image's largest activations.

    With k kept of D, whose sum falls from :math:`s_1` to :math:`s_2`: ``p`` sets the others to zero; ``b`` sets the
    kept ones to :math:`s_1 / k` besides, ``s`` multiplies them by :math:`\exp(s_1 / s_2)`.

    Arguments:
        percentile: Share of the activations that is not kept, from 0 to below 100; published grid 65, 70, …, 95.
        variant: p, b or s; OpenOOD's is b.
        scorer: The detector that scores the logits; the free energy, as published.
    """

    grid = choices(percentile=(65.0, 70.0, 75.0, 80.0, 85.0, 90.0, 95.0))

    def __init__(
        self, percentile: PartPerCent = 90.0, variant: Literal["p", "b", "s"] = "b", scorer: str = "energy"
    ) -> None:
        super().__init__(scorer)
        self.percentile = percentile
        self.variant = variant

    def shape(self, features: Tensor) -> Tensor:
        count = kept_count(features.shape[1], self.percentile)
        top = features.topk(count, dim=1).values
        least = top[:, -1:]
        # Of equal ones the first, whatever the device.
        more, equal = ~(features <= least), features == least
        kept = more | (equal & (equal.cumsum(1) <= count - more.sum(1, keepdim=True)))
        if self.variant == "p":
            return features.where(kept, 0.0)
        whole = features.sum(1, keepdim=True)
        if self.variant == "b":
            return (whole / count).where(kept, 0.0)
        return (features * scaling(whole, top.sum(1, keepdim=True))).where(kept, 0.0)
