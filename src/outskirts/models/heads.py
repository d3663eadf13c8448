"""Classification heads: an optional map of the features, then one linear layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["LinearHead", "Standardise"]


class LinearHead(nn.Module):
    """``logits = linear(inputs(features))``.

    `inputs` is the identity for ordinary classifiers. Keeping it apart from the linear layer exposes both the
    raw features and what the weights are applied to, between which post-hoc scores must choose.

    Arguments:
        linear: The last layer, D → C.
        inputs: A map of the features, [B, D] → [B, D].
    """

    def __init__(self, linear: nn.Linear, inputs: nn.Module | None = None) -> None:
        super().__init__()
        self.inputs = inputs or nn.Identity()
        self.linear = linear

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(self.inputs(features))


class Standardise(nn.Module):
    r"""Standardise each feature vector over its own entries: :math:`\tilde h = \sigma (h - \mu) / s`.

    The norm of the result is at most :math:`\sigma \sqrt{D - 1}`, so logits cannot grow with the features.

    The published code divides by ``s + 1e-6``, whose gradient is of order 1e6 where a feature vector is
    constant, as rectified networks produce on outliers. Here :math:`s = \sqrt{\mathrm{var} + \epsilon^2}`,
    which bounds the gradient by :math:`\sigma / \epsilon`.

    Arguments:
        sigma: Scale of the result; saved with the weights.
        reference_quirks: Divide by ``s + 1e-6`` as published.

    References:
        | Image-based Outlier Synthesis With Training Data (Regmi, 2026): standardised features
        | https://arxiv.org/abs/2411.10794

    >>> Standardise(0.5)(torch.tensor([[1.0, 2.0, 3.0, 4.0]])).norm().item()  # 0.5 * sqrt(3)
    0.866...
    """

    sigma: Tensor
    eps = 1e-3

    def __init__(self, sigma: float = 0.5, reference_quirks: bool = False) -> None:
        super().__init__()
        self.reference_quirks = reference_quirks
        self.register_buffer("sigma", torch.tensor(float(sigma)))

    def forward(self, features: Tensor) -> Tensor:
        features = features if features.dtype == torch.float64 else features.float()
        centred = features - features.mean(1, keepdim=True)
        if self.reference_quirks:
            return self.sigma * centred / (features.std(1, keepdim=True) + 1e-6)
        variance = centred.square().sum(1, keepdim=True) / (features.shape[1] - 1)
        return self.sigma * centred * (variance + self.eps**2).rsqrt()
