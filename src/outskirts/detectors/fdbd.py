"""Distance to the decision boundaries.

References:
    | Fast Decision Boundary based Out-of-Distribution Detector (Liu and Qin, 2024)
    | https://arxiv.org/abs/2312.11536
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..extraction.blocks import in_blocks
from ..extraction.outputs import Outputs
from .base import Detector, choices, register
from .common.derived import mean_feature
from .common.inputs import linear_head

__all__ = ["FDBD", "boundary_distance"]


def boundary_distance(logits: Tensor, weight: Tensor, lengths: Tensor | None = None) -> Tensor:
    r"""The mean distance of a feature to the boundaries between the class predicted and each other one,
    :math:`|z_c - z_{\hat y}| / \lVert w_c - w_{\hat y} \rVert`.

    Arguments:
        logits: [N, C].
        weight: [C, D].
        lengths: Distances between the weights of the classes, [C, C], if they are known.

    Returns:
        [N], float64.
    """
    logits = logits.to(weight)
    top = logits.max(1, keepdim=True)
    lengths = (torch.cdist(weight, weight) if lengths is None else lengths)[top.indices[:, 0]]
    # No boundary lies between a class and itself, nor between classes of equal weights.
    return ((top.values - logits) / lengths.where(lengths > 0, torch.inf)).sum(1) / max(1, logits.shape[1] - 1)


@register("fdbd")
class FDBD(Detector):
    """Mean distance to the decision boundaries, in units of the feature's distance from the mean training feature.

    Arguments:
        centered: Take that distance; otherwise the feature's own length.
    """

    needs = frozenset({"features", "logits", "head"})
    fit_on = "train"
    grid = choices(centered=(True, False))
    mean: Tensor | None

    def __init__(self, centered: bool = True) -> None:
        super().__init__()
        self.centered = centered
        self.register_buffer("mean", None)

    def fit(self, outputs: Outputs) -> FDBD:
        self.mean = mean_feature(outputs, self.name)
        return self

    def score(self, outputs: Outputs) -> Tensor:
        weight, _ = linear_head(outputs, self.name)
        lengths = outputs.fixed(("distances of weights",), lambda: torch.cdist(weight, weight))
        origin = self.require("mean") * self.centered

        def score(rows: Tensor, logits: Tensor) -> Tensor:
            length = (rows.to(origin) - origin).norm(dim=1).clamp_min(torch.finfo(origin.dtype).tiny)
            return -boundary_distance(logits, weight, lengths) / length

        return in_blocks(score, outputs.features, outputs.need("logits", self.name))
