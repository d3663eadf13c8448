"""What several detectors derive from the same outputs, computed once."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ...data.transform import HALF
from ...extraction.blocks import blocks, in_blocks
from ...extraction.outputs import Outputs
from .inputs import training_rows

__all__ = ["mean_feature", "scatter_about", "unit"]


def unit(outputs: Outputs, who: str, space: str = "features") -> Tensor:
    """Features, or another column of vectors, at unit length, [N, D]: float32, or half precision if they are."""

    def scaled(rows: Tensor) -> Tensor:
        # A set that is kept in half precision may be too large for anything wider.
        whole = normalize(rows.float(), dim=1)
        return whole.to(rows.dtype) if rows.dtype in HALF else whole

    return outputs.cached(("unit", space), lambda: in_blocks(scaled, outputs.need(space, who)))


def mean_feature(outputs: Outputs, who: str) -> Tensor:
    """The mean of features that a detector is fitted to, [D], float64."""

    def mean() -> Tensor:
        features = training_rows(outputs, who)
        return torch.stack([rows.double().sum(0) for (rows,) in blocks(features)]).sum(0) / len(features)

    return outputs.cached("mean", mean)


def scatter_about(features: Tensor, origin: Tensor) -> Tensor:
    """The sum over features [N, D] of the outer products of their differences to an origin [D], float64, [D, D]."""
    scatter = origin.new_zeros(len(origin), len(origin))
    for (rows,) in blocks(features):
        centered = rows.to(origin) - origin
        scatter.addmm_(centered.T, centered)
    return scatter
