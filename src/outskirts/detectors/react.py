"""Rectified activations.

References:
    | ReAct: Out-of-distribution Detection With Rectified Activations (Sun, Guo and Li, 2021)
    | https://arxiv.org/abs/2111.12797
"""

from __future__ import annotations

import math

from torch import Tensor

from ..evaluation.outputs import Outputs
from .base import choices, register
from .inputs import checked, training_rows
from .shaping import ShapingDetector

__all__ = ["ReAct", "percentile_of"]


def percentile_of(values: Tensor, percentile: float) -> Tensor:
    """A percentile of all entries, interpolated between neighbours as NumPy does, without a sort.

    Arguments:
        values: At least one entry; any size, where `torch.quantile` stops at 16 million.
        percentile: In [0, 100].

    Returns:
        A float64 scalar.
    """
    flat = values.flatten()
    rank = percentile / 100 * (len(flat) - 1)
    below, above = (flat.kthvalue(k + 1).values.double() for k in (math.floor(rank), math.ceil(rank)))
    return below + (above - below) * (rank % 1)


@register("react")
class ReAct(ShapingDetector):
    """The score of features that are cut off at a percentile of all training activations.

    The percentile is over training images, as in the paper; OpenOOD takes validation images.

    Arguments:
        percentile: Where to cut, in (0, 100]; published grid 85, 90, 95, 99.
        scorer: The detector that scores the logits; the free energy, as published.
    """

    fit_on = "train"
    grid = choices(percentile=(85.0, 90.0, 95.0, 99.0))
    threshold: Tensor | None

    def __init__(self, percentile: float = 90.0, scorer: str = "energy") -> None:
        super().__init__(scorer)
        self.percentile = checked(self.name, "percentile", percentile, above=0, most=100)
        self.register_buffer("threshold", None)

    def fit(self, outputs: Outputs) -> ReAct:
        self.threshold = percentile_of(training_rows(outputs, self.name), self.percentile)
        return self

    def shape(self, features: Tensor) -> Tensor:
        return features.clamp_max(self.require("threshold"))
