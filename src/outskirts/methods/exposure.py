"""Exposure losses: what a classifier is asked to say of outliers.

Each is finite, with a gradient, where there are no outliers; their term is then 0.
"""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor
from torch.nn.functional import log_softmax, softplus

from .averages import mean

__all__ = ["balanced_accuracy", "energy_margin", "ood_head_loss", "ood_head_terms", "uniformity"]


def uniformity(logits: Tensor) -> Tensor:
    r"""The mean divergence of the predictions from uniform, :math:`\mathrm{KL}(U \| p)` in nats.

    Zero only where all classes are equally likely. Outlier Exposure's loss is this plus log C.

    Arguments:
        logits: Logits of outliers, [M, C].

    References:
        | Deep Anomaly Detection with Outlier Exposure (Hendrycks et al., 2019)
        | https://arxiv.org/abs/1812.04606
    """
    if not len(logits):
        return logits.sum()
    return -math.log(logits.shape[1]) - log_softmax(logits, dim=1).mean()


def ood_head_loss(
    id_logits: Tensor,
    outlier_logits: Tensor,
    reduction: Literal["balanced", "pooled"] = "balanced",
    weights: Tensor | None = None,
    sharing: int = 1,
) -> Tensor:
    r"""The logistic loss of telling images from outliers by one logit φ, positive for images.

    .. math:: R = \frac 1 N \sum_i \log(1 + e^{-\phi_i}) + \frac 1 M \sum_j \log(1 + e^{\phi_j})

    Arguments:
        id_logits: φ of images, [N].
        outlier_logits: φ of outliers, [M].
        reduction: ``balanced`` is the sum of two means, as the paper writes it; ``pooled`` is one mean over all
            N + M rows, as its code computes it, in which the rarer kind hardly counts.
        weights: Weights of the images among themselves, [N]; see `mean`.
        sharing: How many processes have these same outliers, each with images of its own.

    References:
        | Non-Parametric Outlier Synthesis (Tao et al., 2023): equation 6
        | https://arxiv.org/abs/2303.02966

    >>> ood_head_loss(Tensor([2.0, -1.0]), Tensor([0.5, -2.0, -3.0, 0.0])).item()
    1.18077...
    """
    id_losses, outlier_losses = softplus(-id_logits), softplus(outlier_logits)
    if reduction == "pooled":
        images, outliers = sharing * len(id_losses), len(outlier_losses)
        return (images * mean(id_losses, weights) + outlier_losses.sum()) / max(images + outliers, 1)
    return mean(id_losses, weights) + mean(outlier_losses)


def energy_margin(
    id_logits: Tensor, outlier_logits: Tensor, m_in: float, m_out: float, weights: Tensor | None = None
) -> Tensor:
    r"""Squared hinges that push the energy :math:`E = -\log \sum_c e^{z_c}` of images below `m_in`, that of
    outliers above `m_out`.

    Arguments:
        id_logits: Logits of images, [N, C].
        outlier_logits: Logits of outliers, [M, C].
        m_in: Energy of images from which on they cost nothing, in nats.
        m_out: Energy of outliers from which on they cost nothing.
        weights: Weights of the images among themselves, [N]; see `mean`.

    References:
        | Energy-based Out-of-distribution Detection (Liu et al., 2020): energy-bounded learning
        | https://arxiv.org/abs/2010.03759
    """
    too_high = (-id_logits.logsumexp(1) - m_in).relu()
    too_low = (m_out + outlier_logits.logsumexp(1)).relu()
    return mean(too_high.square(), weights) + mean(too_low.square())


def balanced_accuracy(id_logits: Tensor, outlier_logits: Tensor) -> Tensor:
    """How often the sign of a logit tells images [N], positive, from outliers [M]: the mean of the two rates.

    Half is chance. Zero where there are no outliers.
    """
    if not len(outlier_logits):
        return id_logits.new_zeros(())
    return (mean((id_logits > 0).float()) + mean((outlier_logits <= 0).float())) / 2


def ood_head_terms(
    id_logits: Tensor,
    outlier_logits: Tensor,
    reduction: Literal["balanced", "pooled"] = "balanced",
    weights: Tensor | None = None,
    sharing: int = 1,
) -> tuple[Tensor, Tensor]:
    """The `ood_head_loss` and the `balanced_accuracy` of a network φ, both 0 where there are no outliers: without them
    there is nothing to tell the images from.
    """
    id_logits, outlier_logits = id_logits.float(), outlier_logits.float()
    loss = ood_head_loss(id_logits, outlier_logits, reduction, weights, sharing) * (len(outlier_logits) > 0)
    return loss, balanced_accuracy(id_logits.detach(), outlier_logits.detach())
