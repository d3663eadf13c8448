"""Joint energy of the labels.

References:
    | Can Multi-label Classification Networks Know What They Don't Know? (Wang et al., 2021)
    | https://arxiv.org/abs/2109.14162
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn.functional import softplus

from ..extraction.outputs import Outputs
from .base import Detector, choices, register

__all__ = ["JointEnergy", "label_energies"]


def label_energies(logits: Tensor) -> Tensor:
    r"""The negative free energy of each label and its absence, :math:`\log(1 + \exp(z_k))`, at least 0.

    Arguments:
        logits: [N, C].

    Returns:
        [N, C], float64.
    """
    # From 20 on, PyTorch takes softplus(z) for z by default, which is off by 2e-9.
    return softplus(logits.double(), threshold=50)


@register("joint_energy")
class JointEnergy(Detector):
    """Free energies of all labels together, for networks that have a sigmoid for each label and may give several.

    Arguments:
        aggregate: ``sum`` over all labels, as published, or ``max``, the energy of the likeliest label alone.
    """

    grid = choices(aggregate=("sum", "max"))

    def __init__(self, aggregate: Literal["sum", "max"] = "sum") -> None:
        super().__init__()
        self.aggregate = aggregate

    @property
    def level_matters(self) -> str | None:
        """A sigmoid sees the level, unlike a softmax."""
        if self.aggregate == "max":
            return None
        return "each logit is the log-odds of a label, so that a constant changes the probabilities of all labels"

    def score(self, outputs: Outputs) -> Tensor:
        energies = label_energies(outputs.need("logits", self.name))
        return -(energies.sum(1) if self.aggregate == "sum" else energies.amax(1))
