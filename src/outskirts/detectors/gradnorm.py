"""The norm of the gradient of the head's weights.

References:
    | On the Importance of Gradients for Detecting Distributional Shifts in the Wild (Huang et al., 2021)
    | https://arxiv.org/abs/2110.00218
"""

from __future__ import annotations

from torch import Tensor

from ..extraction.blocks import in_blocks
from ..extraction.outputs import Outputs
from .base import Detector, register

__all__ = ["GradNorm", "gradient_norm"]


def gradient_norm(features: Tensor, logits: Tensor) -> Tensor:
    r"""The L1 norm of the gradient, with respect to the head's weights, of the cross-entropy to all classes.

    The gradient is :math:`(C p - 1) f^\top`, with the softmax p, so that the norm is
    :math:`\lVert f \rVert_1 \sum_c |C p_c - 1|`.

    Arguments:
        features: What the linear layer is applied to, [N, D].
        logits: [N, C].

    Returns:
        [N], float64.
    """

    def norm(rows: Tensor, of_rows: Tensor) -> Tensor:
        probabilities = of_rows.double().softmax(1)
        return rows.double().abs().sum(1) * (logits.shape[1] * probabilities - 1).abs().sum(1)

    return in_blocks(norm, features, logits)


@register("gradnorm")
class GradNorm(Detector):
    """The norm of the gradient of the head's weights.

    It has a closed form; the published code goes backwards once an image.
    """

    needs = frozenset({"features", "logits", "head"})

    def score(self, outputs: Outputs) -> Tensor:
        return -gradient_norm(outputs.need("features", self.name), outputs.need("logits", self.name))
