"""ODIN: temperature and a step of the whole image.

References:
    | Enhancing The Reliability of Out-of-distribution Image Detection in Neural Networks
      (Liang, Li and Srikant, 2018)
    | https://arxiv.org/abs/1706.02690
"""

from __future__ import annotations

from .base import choices, register
from .common.perturbed import PerturbedDetector

__all__ = ["ODIN"]


@register("odin")
class ODIN(PerturbedDetector):
    """Temperature-scaled softmax probability after every value of the image moves by epsilon.

    A value whose gradient is exactly zero moves too, as if it were positive; so does the published code.

    Arguments:
        temperature: Divides the logits, above 0; OpenOOD's grid is 1, 10, 100, 1000.
        epsilon: Size of the step in units of the raw pixel range [0, 1], at least 0; OpenOOD's grid is .0014, .0028.
    """

    pass_grid = choices(temperature=(1.0, 10.0, 100.0, 1000.0), epsilon=(0.0014, 0.0028))

    sparse = False
