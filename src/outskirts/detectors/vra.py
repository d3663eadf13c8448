"""Variational rectified activations.

References:
    | VRA: Variational Rectified Activation for Out-of-distribution Detection (Xu et al., 2023)
    | https://arxiv.org/abs/2302.11716
"""

from __future__ import annotations

from torch import Tensor

from ..bounds import PerCent, PositivePerCent
from ..extraction.outputs import Outputs
from .base import choices, register
from .common.inputs import checked
from .common.shaping import ShapingDetector
from .react import cutoff

__all__ = ["VRA"]


@register("vra")
class VRA(ShapingDetector):
    """The score of features that are cut off at a high percentile of all training activations, those below a low one
    being set to zero. OpenOOD raises these to the low percentile instead.

    Arguments:
        percentile: Where to cut, above 0 and at most 100; published grid 85, 90, 95, 99.
        low: Below which an activation is zero, from 0 to 100 and at most `percentile`; published grid 1, 5, 10, 15.
        scorer: The detector that scores the logits; the free energy, as published.
        reference_quirks: Raise low activations, as OpenOOD does.
    """

    fit_on = "train"
    grid = choices(percentile=(85.0, 90.0, 95.0, 99.0), low=(1.0, 5.0, 10.0, 15.0))
    threshold: Tensor | None
    floor: Tensor | None

    def __init__(
        self,
        percentile: PositivePerCent = 90.0,
        low: PerCent = 10.0,
        scorer: str = "energy",
        reference_quirks: bool = False,
    ) -> None:
        super().__init__(scorer)
        self.percentile = percentile
        self.reference_quirks = reference_quirks
        self.low = checked(self.name, "low", low, most=percentile)
        self.register_buffer("threshold", None)
        self.register_buffer("floor", None)

    def fit(self, outputs: Outputs) -> VRA:
        self.threshold, self.floor = (cutoff(outputs, cut, self.name) for cut in (self.percentile, self.low))
        return self

    def shape(self, features: Tensor) -> Tensor:
        floor, cut = self.require("floor"), features.clamp_max(self.require("threshold"))
        return cut.maximum(floor) if self.reference_quirks else cut.where(features >= floor, 0.0)
