"""Free energy of the logits.

References:
    | Energy-based Out-of-distribution Detection (Liu et al., 2020)
    | https://arxiv.org/abs/2010.03759
"""

from __future__ import annotations

from torch import Tensor

from ..bounds import Positive
from ..extraction.outputs import Outputs
from .base import Detector, register

__all__ = ["Energy", "energy"]


def energy(logits: Tensor, temperature: float = 1.0) -> Tensor:
    r"""The free energy, :math:`-T \log \sum_k \exp(z_k / T)`.

    Arguments:
        logits: [N, C].
        temperature: T.

    Returns:
        Scores [N], float64.
    """
    return -temperature * (logits.double() / temperature).logsumexp(1)


@register("energy")
class Energy(Detector):
    """Free energy.

    Arguments:
        temperature: T, above 0; the paper finds 1 best.
    """

    def __init__(self, temperature: Positive = 1.0) -> None:
        super().__init__()
        self.temperature = temperature

    def score(self, outputs: Outputs) -> Tensor:
        return energy(outputs.need("logits", self.name), self.temperature)
