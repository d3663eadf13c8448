"""The numerator of divided logits.

References:
    | Generalized ODIN: Detecting Out-of-distribution Image without Learning from Out-of-distribution Data
      (Hsu et al., 2020)
    | https://arxiv.org/abs/2002.11297
"""

from __future__ import annotations

from torch import Tensor

from ..extraction.outputs import Outputs
from .base import Detector, register

__all__ = ["GODINScore"]


@register("godin")
class GODINScore(Detector):
    """The largest numerator of the logits of a classifier that was trained by `godin`.

    The paper's step of the image along the gradient is left out: the score needs no pass of its own.
    """

    needs = frozenset({"numerators"})

    def score(self, outputs: Outputs) -> Tensor:
        return -outputs.need("numerators", self.name).double().amax(1)
