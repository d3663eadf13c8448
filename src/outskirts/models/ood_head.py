"""Small networks that tell training images from outliers, trained beside a classifier's head.

Each maps features [B, D] and logits [B, C] to one logit φ per row, [B]: larger means more in-distribution.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["EnergyOODHead", "FeatureOODHead", "PlainEnergyOODHead"]


class FeatureOODHead(nn.Module):
    """A two-layer perceptron on the features, as NPOS trains it; it ignores the logits.

    Arguments:
        dim: D.
        hidden: Units of the hidden layer.

    References:
        | Non-Parametric Outlier Synthesis (Tao et al., 2023)
        | https://arxiv.org/abs/2303.02966
    """

    def __init__(self, dim: int, hidden: int = 128) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, features: Tensor, logits: Tensor | None = None) -> Tensor:
        return self.network(features).squeeze(1)


class EnergyOODHead(nn.Module):
    r"""A logistic regression on the energy of weighted logits, as VOS trains it; it ignores the features.

    .. math:: \phi = a \log \sum_c \mathrm{relu}(w_c) \exp(z_c) + b

    It begins as the negative energy, :math:`w = a = 1` and :math:`b = 0`. The sum is computed in float32 at least.

    Arguments:
        classes: C.

    References:
        | VOS: Learning What You Don't Know by Virtual Outlier Synthesis (Du et al., 2022)
        | https://arxiv.org/abs/2202.01197
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.ones(classes))
        self.scale = nn.Parameter(torch.ones(()))
        self.shift = nn.Parameter(torch.zeros(()))

    def forward(self, features: Tensor, logits: Tensor) -> Tensor:
        # A floor keeps the logarithm finite where all weights have been driven to zero.
        logits = logits if logits.dtype == torch.float64 else logits.float()
        energy = (logits + self.weights.relu().clamp_min(1e-6).log()).logsumexp(1)
        return self.scale * energy + self.shift


class PlainEnergyOODHead(nn.Module):
    r"""A logistic regression or a two-layer perceptron on :math:`\log \sum_c e^{z_c / T}`, as Dream-OOD and NCIS train
    it; it ignores the features.

    Arguments:
        hidden: Units of the hidden layer; 0 for none.
        temperature: T.

    References:
        | Dream the Impossible: Outlier Imagination with Diffusion Models (Du et al., 2023)
        | https://arxiv.org/abs/2309.13415
    """

    def __init__(self, hidden: int = 0, temperature: float = 1.0) -> None:
        super().__init__()
        self.temperature = temperature
        self.network = (
            nn.Sequential(nn.Linear(1, hidden), nn.ReLU(), nn.Linear(hidden, 1)) if hidden else nn.Linear(1, 1)
        )

    def forward(self, features: Tensor, logits: Tensor) -> Tensor:
        logits = logits if logits.dtype == torch.float64 else logits.float()
        energy = (logits / self.temperature).logsumexp(1, keepdim=True)
        return self.network(energy).squeeze(1)
