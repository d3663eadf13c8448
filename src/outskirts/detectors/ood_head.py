"""What a network trained to tell training images from outliers says.

References:
    | Non-Parametric Outlier Synthesis (Tao et al., 2023)
    | https://arxiv.org/abs/2303.02966
    |
    | VOS: Learning What You Don't Know by Virtual Outlier Synthesis (Du et al., 2022)
    | https://arxiv.org/abs/2202.01197
"""

from __future__ import annotations

from torch import Tensor

from ..extraction.outputs import Outputs
from .base import Detector, register

__all__ = ["OODHead"]


@register("ood_head")
class OODHead(Detector):
    """The logit of the classifier's own outlier network, which NPOS, VOS and Outlier Exposure can train.

    Their papers score by other means (`knn`, `energy`) and use the network in training only.
    """

    needs = frozenset({"ood_head"})

    def score(self, outputs: Outputs) -> Tensor:
        return -outputs.need("ood_head", self.name)
