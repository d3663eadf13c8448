"""Virtual-logit matching.

References:
    | ViM: Out-Of-Distribution with Virtual-logit Matching (Wang et al., 2022)
    | https://arxiv.org/abs/2203.10807
"""

from __future__ import annotations

from torch import Tensor

from ..bounds import Count
from ..extraction.outputs import Outputs
from .base import Detector, choices, register
from .energy import energy
from .residual import DIMS, outside, residual

__all__ = ["ViM"]


@register("vim")
class ViM(Detector):
    """The feature's residual outside the principal space, scaled to a logit, plus the free energy.

    Arguments:
        dim: Size of the principal space, at least 1; None is the paper's rule: 1000 for features of dimension 2048 or
            more, 512 from 768 on, and half the dimension below.
    """

    needs = frozenset({"features", "logits", "head"})
    fit_on = "train"
    grid = choices(dim=DIMS)
    origin: Tensor | None
    complement: Tensor | None
    alpha: Tensor | None

    def __init__(self, dim: Count | None = None) -> None:
        super().__init__()
        self.dim = dim
        for buffer in ("origin", "complement", "alpha"):
            self.register_buffer(buffer, None)

    def fit(self, outputs: Outputs) -> ViM:
        self.origin, self.complement = outside(outputs, self.dim, self.name)
        total = residual(outputs, self.origin, self.complement, self.name).sum()
        self.alpha = outputs.need("logits", self.name).amax(1).double().sum() / total
        return self

    def score(self, outputs: Outputs) -> Tensor:
        norm = residual(outputs, self.require("origin"), self.require("complement"), self.name)
        return self.require("alpha") * norm + energy(outputs.need("logits", self.name))
