"""Maximum concept matching.

References:
    | Delving into Out-of-Distribution Detection with Vision-Language Representations (Ming et al., 2022)
    | https://arxiv.org/abs/2211.13445
"""

from __future__ import annotations

from torch import Tensor

from ..bounds import Positive
from ..extraction.outputs import Outputs
from .base import Detector, choices, register
from .msp import msp

__all__ = ["MCM"]


@register("mcm")
class MCM(Detector):
    r"""Softmax probability of the cosine to the nearest of the class prototypes, such as CLIP's class names.

    The score is :math:`-\log \max_c \mathrm{softmax}(\cos / T)_c`, which ranks like the published
    :math:`-\max_c \mathrm{softmax}(\cos / T)_c`. Each image counts alone: the code of NPOS divides by the norm of
    all features of a batch, with which scores depend on the batch and T is effectively the root of its size.

    Arguments:
        temperature: T, above 0; 1 as published, whatever temperature the classifier was trained with.
    """

    needs = frozenset({"cosines"})
    grid = choices(temperature=(0.01, 0.1, 1.0, 10.0))

    def __init__(self, temperature: Positive = 1.0) -> None:
        super().__init__()
        self.temperature = temperature

    def score(self, outputs: Outputs) -> Tensor:
        return msp(outputs.need("cosines", self.name).double() / self.temperature)
