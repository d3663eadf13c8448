"""Neural collapse, seen from the principal directions.

References:
    | NECO: NEural Collapse Based Out-of-distribution detection (Ben Ammar et al., 2024)
    | https://arxiv.org/abs/2310.06823
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..bounds import Count
from ..extraction.blocks import in_blocks
from ..extraction.outputs import Outputs
from .base import Detector, choices, register
from .common.derived import mean_feature, scatter_about
from .common.inputs import checked, training_rows
from .common.level import PUBLISHED, Level, at_level, require_above_zero
from .max_logit import max_logit

__all__ = ["NECO"]


@register("neco")
class NECO(Detector):
    """The share of a standardised feature's length that lies in the principal space of the training features, times the
    largest logit.

    Arguments:
        dim: Size of the principal space, at least 1; None takes one direction for each class, at most half of all.
        logit: Multiply by the largest logit, as the paper does but for vision transformers.
        level: ``centered`` takes the mean of an image's logits from them; ``published`` takes them as they are, so that
            a constant added to all logits, which no softmax sees, changes which images score the most.
    """

    needs = frozenset({"features", "logits"})
    fit_on = "train"
    grid = choices(dim=(None, 16, 32, 64, 128, 256))
    mean: Tensor | None
    basis: Tensor | None
    scale: Tensor | None

    def __init__(self, dim: Count | None = None, logit: bool = True, level: Level = "centered") -> None:
        super().__init__()
        self.dim = dim
        self.logit = logit
        self.level = level
        if not logit and dim is not None:
            self.needs = frozenset({"features"})
        for buffer in ("mean", "scale", "basis"):
            self.register_buffer(buffer, None)

    @property
    def level_matters(self) -> str | None:
        """Why a constant changes the published form."""
        return PUBLISHED if self.level == "published" and self.logit else None

    def fit(self, outputs: Outputs) -> NECO:
        features = training_rows(outputs, self.name)
        if self.logit:
            require_above_zero(self._largest(outputs).mean(), "the mean of the largest logits", self.name)
        dimension = features.shape[1]
        dim = max(1, min(outputs.classes, dimension // 2)) if self.dim is None else self.dim
        checked(self.name, f"dim, for features of dimension {dimension},", dim, most=dimension)
        self.mean = mean_feature(outputs, self.name)
        scatter = scatter_about(features, self.mean)
        deviation = (scatter.diagonal() / len(features)).sqrt()
        # Features that never vary in training say nothing in units of their deviation.
        self.scale = torch.where(deviation > 0, deviation, torch.inf).reciprocal()
        correlation = scatter * self.scale * self.scale[:, None]
        self.basis = torch.linalg.eigh(correlation).eigenvectors[:, dimension - dim :].contiguous()
        return self

    def score(self, outputs: Outputs) -> Tensor:
        mean, scale, basis = (self.require(name) for name in ("mean", "scale", "basis"))

        def kept(rows: Tensor) -> Tensor:
            centered = (rows.to(mean) - mean) * scale
            return (centered @ basis).norm(dim=1) / centered.norm(dim=1).clamp_min(torch.finfo(mean.dtype).tiny)

        share = in_blocks(kept, outputs.need("features", self.name))
        return -share * self._largest(outputs).to(share) if self.logit else -share

    def _largest(self, outputs: Outputs) -> Tensor:
        """The largest logit of each image, [N]."""
        return -at_level(outputs, self.level, self.name, max_logit)
