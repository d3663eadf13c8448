"""Directed sparsification.

References:
    | DICE: Leveraging Sparsification for Out-of-Distribution Detection (Sun and Li, 2022)
    | https://arxiv.org/abs/2111.09805
"""

from __future__ import annotations

from torch import Tensor

from ..bounds import PartPerCent
from ..extraction.outputs import Outputs
from .base import choices, register
from .common.derived import mean_feature
from .common.inputs import linear_head
from .common.shaping import ShapingDetector
from .react import percentile_of

__all__ = ["DICE"]


@register("dice")
class DICE(ShapingDetector):
    """The score of logits that only the weights with the largest contributions to training images make.

    A weight's contribution is itself times the mean of its feature. Those above a percentile of all contributions are
    kept, whatever their class.

    Arguments:
        percentile: Share of the weights that is not kept, from 0 to below 100; published as 90.
        scorer: The detector that scores the logits; the free energy, as published.
    """

    fit_on = "train"
    grid = choices(percentile=(10.0, 30.0, 50.0, 70.0, 90.0))
    mean: Tensor | None

    def __init__(self, percentile: PartPerCent = 90.0, scorer: str = "energy") -> None:
        super().__init__(scorer)
        self.percentile = percentile
        self.register_buffer("mean", None)

    def fit(self, outputs: Outputs) -> DICE:
        linear_head(outputs, self.name)
        self.mean = mean_feature(outputs, self.name)
        return self

    def sparsify(self, weight: Tensor, outputs: Outputs) -> Tensor:
        mean = self.require("mean")

        def sparse() -> Tensor:
            contributions = weight * mean
            return weight.where(contributions > percentile_of(contributions, self.percentile), 0.0)

        return outputs.fixed(("sparse", self.percentile, mean), sparse)
