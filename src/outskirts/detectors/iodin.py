"""i-ODIN: temperature and a step of the one value that matters most.

References:
    | Image-based Outlier Synthesis With Training Data (Regmi, 2024)
    | https://arxiv.org/abs/2411.10794
"""

from __future__ import annotations

from .base import choices, register
from .common.perturbed import PerturbedDetector

__all__ = ["IODIN"]


@register("iodin")
class IODIN(PerturbedDetector):
    """Temperature-scaled softmax probability after only the value with the largest gradient moves by epsilon.

    Arguments:
        temperature: Divides the logits, above 0; published grid 1, 10, 100, 1000.
        epsilon: Size of the step in units of the raw pixel range [0, 1], at least 0; published grid .0014 to .0098.
    """

    pass_grid = choices(
        temperature=(1.0, 10.0, 100.0, 1000.0), epsilon=(0.0014, 0.0028, 0.0042, 0.0056, 0.007, 0.0084, 0.0098)
    )

    sparse = True
