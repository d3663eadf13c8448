"""Virtual-logit matching.

References:
    | ViM: Out-Of-Distribution with Virtual-logit Matching (Wang et al., 2022)
    | https://arxiv.org/abs/2203.10807
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import OutskirtsError
from ..evaluation.outputs import Outputs
from .base import Detector, register
from .energy import energy
from .inputs import checked, linear_head, training_rows
from .mahalanobis import BLOCK

__all__ = ["ViM", "default_dim", "residual"]


def default_dim(dimension: int) -> int:
    """The size of the principal space that the paper takes for features of this dimension.

    >>> default_dim(2048), default_dim(768), default_dim(512)
    (1000, 512, 256)
    """
    return 1000 if dimension >= 2048 else 512 if dimension >= 768 else dimension // 2


def residual(features: Tensor, origin: Tensor, complement: Tensor) -> Tensor:
    """The norm of the part of each feature, seen from the origin, that lies outside the principal space.

    Arguments:
        features: [N, D].
        origin: [D].
        complement: Orthonormal basis of the space outside, [D, D - dim].

    Returns:
        [N], float64.
    """
    parts = [(rows.to(origin) - origin) @ complement for rows in features.split(BLOCK)]
    return torch.cat([part.norm(dim=1) for part in parts])


@register("vim")
class ViM(Detector):
    """The feature's residual outside the principal space, scaled to a logit, plus the free energy.

    Arguments:
        dim: Size of the principal space; None is the paper's rule: 1000 for features of dimension 2048 or
            more, 512 from 768 on, and half the dimension below.
    """

    needs = frozenset({"features", "logits", "head"})
    fit_on = "train"
    origin: Tensor | None
    complement: Tensor | None
    alpha: Tensor | None

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = None if dim is None else checked(self.name, "dim", dim, least=1)
        for buffer in ("origin", "complement", "alpha"):
            self.register_buffer(buffer, None)

    def fit(self, outputs: Outputs) -> ViM:
        head = linear_head(outputs, self.name)
        features = training_rows(outputs, self.name)
        dimension = features.shape[1]
        dim = self.dim or default_dim(dimension)
        checked(self.name, f"dim, for features of dimension {dimension},", dim, most=dimension - 1)
        self.origin = -torch.linalg.pinv(head.weight) @ head.bias
        scatter = head.weight.new_zeros(dimension, dimension)
        for rows in features.split(BLOCK):
            centred = rows.to(scatter) - self.origin
            scatter.addmm_(centred.T, centred)
        # Eigenvalues ascend: the last `dim` vectors span the principal space.
        self.complement = torch.linalg.eigh(scatter).eigenvectors[:, : dimension - dim].contiguous()
        total = residual(features, self.origin, self.complement).sum()
        if total <= 1e-10 * (len(features) * scatter.trace()).sqrt():
            raise OutskirtsError(
                f"The detector '{self.name}' finds no residual: the training features lie within {dim} of "
                f"their {dimension} dimensions; choose a smaller dim or another detector."
            )
        self.alpha = outputs.logits.double().amax(1).sum() / total
        return self

    def score(self, outputs: Outputs) -> Tensor:
        outside = residual(outputs.features, self.require("origin"), self.require("complement"))
        return self.require("alpha") * outside + energy(outputs.logits)
