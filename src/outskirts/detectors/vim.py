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
from .common.level import PUBLISHED, Level, at_level, require_above_zero
from .energy import energy
from .max_logit import max_logit
from .residual import DIMS, outside, residual

__all__ = ["ViM"]


@register("vim")
class ViM(Detector):
    """The feature's residual outside the principal space, scaled to a logit, plus the free energy.

    The scale is the sum of the largest logits of the training images, in units of the sum of their residuals.

    Arguments:
        dim: Size of the principal space, at least 1; None is the paper's rule: 1000 for features of dimension 2048 or
            more, 512 from 768 on, and half the dimension below.
        level: ``centered`` takes the mean of an image's logits from them; ``published`` takes them as they are, so that
            a constant added to all logits, which no softmax sees, changes which images score the most.
    """

    needs = frozenset({"features", "logits", "head"})
    fit_on = "train"
    grid = choices(dim=DIMS)
    origin: Tensor | None
    complement: Tensor | None
    alpha: Tensor | None

    def __init__(self, dim: Count | None = None, level: Level = "centered") -> None:
        super().__init__()
        self.dim = dim
        self.level = level
        for buffer in ("origin", "complement", "alpha"):
            self.register_buffer(buffer, None)

    @property
    def level_matters(self) -> str | None:
        """Why a constant changes the published form."""
        return PUBLISHED if self.level == "published" else None

    def fit(self, outputs: Outputs) -> ViM:
        largest = -at_level(outputs, self.level, self.name, max_logit)
        self.origin, self.complement = outside(outputs, self.dim, self.level, self.name)
        total = residual(outputs, self.origin, self.complement, self.name).sum()
        self.alpha = largest.sum() / total
        require_above_zero(self.alpha, "its factor alpha", self.name)
        return self

    def score(self, outputs: Outputs) -> Tensor:
        norm = residual(outputs, self.require("origin"), self.require("complement"), self.name)
        return self.require("alpha") * norm + at_level(outputs, self.level, self.name, energy)
