"""Neural collapse, seen from the class weights.

References:
    | Detecting Out-of-Distribution Through the Lens of Neural Collapse (Liu and Qin, 2025)
    | https://arxiv.org/abs/2311.01479
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..bounds import NonNegative
from ..extraction.blocks import in_blocks
from ..extraction.outputs import Outputs
from .base import Detector, choices, register
from .common.derived import mean_feature
from .common.inputs import linear_head

__all__ = ["NCI"]


@register("nci")
class NCI(Detector):
    r"""Nearness of the feature to the weight of the class predicted, and its length.

    The score falls with :math:`w_{\hat y} \cdot (f - \mu) / \lVert f - \mu \rVert + \alpha \lVert f \rVert_1`, with
    the mean training feature :math:`\mu`.

    Arguments:
        alpha: How much the length of the feature counts, at least 0; published grid .0001, .001, .01, .1.
    """

    needs = frozenset({"features", "logits", "head"})
    fit_on = "train"
    grid = choices(alpha=(1e-4, 1e-3, 1e-2, 1e-1))
    mean: Tensor | None

    def __init__(self, alpha: NonNegative = 1e-4) -> None:
        super().__init__()
        self.alpha = alpha
        self.register_buffer("mean", None)

    def fit(self, outputs: Outputs) -> NCI:
        self.mean = mean_feature(outputs, self.name)
        return self

    def score(self, outputs: Outputs) -> Tensor:
        weight, _ = linear_head(outputs, self.name)
        mean = self.require("mean")

        def score(rows: Tensor, predicted: Tensor) -> Tensor:
            centered = rows.to(mean) - mean
            along = (centered * weight[predicted]).sum(1)
            length = centered.norm(dim=1).clamp_min(torch.finfo(mean.dtype).tiny)
            return -along / length - self.alpha * rows.to(mean).abs().sum(1)

        return in_blocks(score, outputs.features, outputs.need("logits", self.name).argmax(1))
