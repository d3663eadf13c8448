"""What lies outside the principal space of the training features.

References:
    | ViM: Out-Of-Distribution with Virtual-logit Matching (Wang et al., 2022)
    | https://arxiv.org/abs/2203.10807
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..bounds import Count
from ..errors import OutskirtsError
from ..extraction.blocks import in_blocks, traced
from ..extraction.outputs import Outputs
from .base import Detector, choices, register
from .common.derived import scatter_about
from .common.inputs import checked, linear_head, training_rows
from .common.level import PUBLISHED, Level, head_at_level

__all__ = ["DIMS", "Residual", "default_dim", "outside", "outside_norms", "residual"]

#: Sizes of the principal space to choose from: published as 256 and 1000; smaller ones are for narrower features.
DIMS = (1000, 512, 256, 128, 64, 32)

#: Below this share of the variance, what is left is the rounding of float32 features.
ROUNDING = 1e-13

#: Bytes that the norms of all nested spaces may take to be kept, for other sizes to read.
_KEPT = 2**29


def default_dim(dimension: int) -> int:
    """The size of the principal space that the paper takes for features of this dimension.

    >>> default_dim(2048), default_dim(768), default_dim(512)
    (1000, 512, 256)
    """
    return 1000 if dimension >= 2048 else 512 if dimension >= 768 else dimension // 2


def outside(outputs: Outputs, dim: int | None, level: Level, who: str) -> tuple[Tensor, Tensor]:
    """The origin [D] at which the bias of the head vanishes, and a basis [D, D - dim] of the space that is left of the
    training features' `dim` principal directions about it, float64.

    Raises:
        OutskirtsError: If `dim` does not leave any, or the features do not lie there at all.
    """
    head, features = head_at_level(linear_head(outputs, who), level), training_rows(outputs, who)
    dimension = features.shape[1]
    dim = default_dim(dimension) if dim is None else dim
    checked(who, f"dim, for features of dimension {dimension},", dim, most=dimension - 1)

    def directions() -> tuple[Tensor, Tensor, Tensor]:
        origin = -torch.linalg.pinv(head.weight) @ head.bias
        return origin, *torch.linalg.eigh(scatter_about(features, origin))

    origin, values, vectors = outputs.cached(("principal", level), directions)
    # Eigenvalues ascend: the last `dim` vectors span the principal space.
    if values[: dimension - dim].sum() <= ROUNDING * values.sum():
        raise OutskirtsError(
            f"The detector '{who}' finds no residual: the training features lie within {dim} of "
            f"their {dimension} dimensions; choose a smaller dim or another detector."
        )
    return origin, vectors[:, : dimension - dim]


def residual(outputs: Outputs, origin: Tensor, complement: Tensor, who: str) -> Tensor:
    """The norm of the part of each feature, seen from the origin, that lies outside the principal space.

    Arguments:
        outputs: With features [N, D].
        origin: [D].
        complement: Orthonormal basis of the space outside, [D, D - dim].
        who: The detector's name.

    Returns:
        [N], float64.
    """

    features = outputs.need("features", who)
    if traced() or len(features) * complement.shape[1] * 8 > _KEPT:
        return in_blocks(lambda rows: outside_norms(rows, origin, complement)[:, -1].clone(), features)

    def norms() -> dict[str, Tensor]:
        return {"of": complement, "norms": outside_norms(features, origin, complement)}

    # Slices of one basis share its memory: of nested spaces, the largest has measured all.
    known = outputs.cached(("residual", complement.data_ptr()), norms)
    if known["of"].shape[1] < complement.shape[1]:
        known |= norms()
    return known["norms"][:, complement.shape[1] - 1]


def outside_norms(features: Tensor, origin: Tensor, basis: Tensor) -> Tensor:
    """The norm of each feature's part in the span of the first k vectors of a basis, for every k, [N, K], float64.

    Arguments:
        features: [N, D].
        origin: From which features are seen, [D].
        basis: Orthonormal, [D, K].
    """
    # In one layout, so that what is loaded rounds as what was saved.
    basis = basis.contiguous()
    return in_blocks(lambda rows: ((rows.to(origin) - origin) @ basis).square_().cumsum(1).sqrt_(), features)


@register("residual")
class Residual(Detector):
    """The norm of what lies outside the principal space.

    Arguments:
        dim: Size of the principal space, at least 1; None is the rule of ViM's paper: 1000 for features of dimension
            2048 or more, 512 from 768 on, and half the dimension below.
        level: ``centered`` takes the mean over classes from the weights and biases that set the origin; ``published``
            takes them as they are, so that a constant added to all biases changes which images score the most.
    """

    needs = frozenset({"features", "head"})
    fit_on = "train"
    grid = choices(dim=DIMS)
    origin: Tensor | None
    complement: Tensor | None

    def __init__(self, dim: Count | None = None, level: Level = "centered") -> None:
        super().__init__()
        self.dim = dim
        self.level = level
        for buffer in ("origin", "complement"):
            self.register_buffer(buffer, None)

    @property
    def level_matters(self) -> str | None:
        """Why a constant changes the published form."""
        return PUBLISHED if self.level == "published" else None

    def fit(self, outputs: Outputs) -> Residual:
        self.origin, self.complement = outside(outputs, self.dim, self.level, self.name)
        return self

    def score(self, outputs: Outputs) -> Tensor:
        return residual(outputs, self.require("origin"), self.require("complement"), self.name)
