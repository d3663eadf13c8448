"""Maximum softmax probability of a calibrated classifier.

References:
    | On Calibration of Modern Neural Networks (Guo et al., 2017)
    | https://arxiv.org/abs/1706.04599
"""

from __future__ import annotations

import math

import torch
from scipy.optimize import brentq
from torch import Tensor

from ..errors import OutskirtsError
from ..extraction.outputs import Outputs
from .base import Detector, register
from .common.inputs import training_labels
from .msp import msp

__all__ = ["TemperatureScaledMSP", "calibrate"]

#: Limits for when the likelihood has no minimum: a perfect classifier wants T = 0, a guessing one T = infinity.
COLDEST, HOTTEST = 0.05, 100.0


def calibrate(logits: Tensor, labels: Tensor) -> float:
    """The temperature, within [0.05, 100], that minimises the negative log-likelihood of the labels.

    The likelihood is convex in 1/T, so its slope crosses zero at most once, and bisection is sure to find where.

    Arguments:
        logits: [N, C].
        labels: [N].
    """
    logits = logits.double()
    right = logits.gather(1, labels[:, None]).squeeze(1)

    def slope(log_temperature: float) -> float:
        """The derivative of the negative log-likelihood with respect to 1/T."""
        expected = ((logits / math.exp(log_temperature)).softmax(1) * logits).sum(1)
        return (expected - right).mean().item()

    low, high = math.log(COLDEST), math.log(HOTTEST)
    if slope(low) <= 0:
        return COLDEST
    if slope(high) >= 0:
        return HOTTEST
    return math.exp(brentq(slope, low, high))


@register("temperature")
class TemperatureScaledMSP(Detector):
    """Maximum softmax probability of the logits divided by a temperature fitted on validation images."""

    needs = frozenset({"logits", "labels"})
    of_softmax = True
    fit_on = "val"
    temperature: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("temperature", None)

    def fit(self, outputs: Outputs) -> TemperatureScaledMSP:
        labels = training_labels(outputs, self.name)
        if labels.max() >= outputs.classes:
            raise OutskirtsError(
                f"The detector '{self.name}' met the label {int(labels.max())}, but the logits have "
                f"{outputs.classes} classes, which count from 0."
            )
        self.temperature = torch.tensor(calibrate(outputs.need("logits", self.name), labels), dtype=torch.float64)
        return self

    def score(self, outputs: Outputs) -> Tensor:
        # Plain MSP ties confident images at low temperatures, where 1 - p is below the precision of float64.
        return msp(outputs.need("logits", self.name).double() / self.require("temperature"))
