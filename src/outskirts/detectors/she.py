"""Simplified Hopfield energy.

References:
    | Out-of-Distribution Detection based on In-Distribution Data Patterns Memorization with Modern Hopfield Energy
      (Zhang et al., 2023)
    | https://openreview.net/forum?id=KkazG4lgKL
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from ..extraction.blocks import blocks, in_blocks
from ..extraction.outputs import Outputs
from .base import Detector, choices, register
from .common.derived import mean_feature
from .common.inputs import training_labels, training_rows

__all__ = ["SHE"]


@register("she")
class SHE(Detector):
    """Similarity of the feature to the mean of correctly classified training features of the class predicted.

    A class without any has the mean of all; in published code it is NaN.

    Arguments:
        metric: ``inner_product`` as published, ``euclidean`` or ``cosine``.
    """

    needs = frozenset({"features", "logits", "labels"})
    fit_on = "train"
    grid = choices(metric=("inner_product", "euclidean", "cosine"))
    means: Tensor | None

    def __init__(self, metric: Literal["inner_product", "euclidean", "cosine"] = "inner_product") -> None:
        super().__init__()
        self.metric = metric
        self.register_buffer("means", None)

    def fit(self, outputs: Outputs) -> SHE:
        labels, features = training_labels(outputs, self.name), training_rows(outputs, self.name)
        right = outputs.need("logits", self.name).argmax(1) == labels
        sums = torch.zeros(outputs.classes, features.shape[1], dtype=torch.float64, device=features.device)
        for rows, of, counted in blocks(features, labels, right):
            sums.index_add_(0, of[counted], rows[counted].double())
        counts = labels[right].bincount(minlength=outputs.classes)[:, None]
        self.means = torch.where(counts > 0, sums / counts.clamp_min(1), mean_feature(outputs, self.name))
        return self

    def score(self, outputs: Outputs) -> Tensor:
        means = self.require("means")

        def score(rows: Tensor, predicted: Tensor) -> Tensor:
            one, two = rows.to(means), means[predicted]
            if self.metric == "inner_product":
                return -(one * two).sum(1)
            return (one - two).norm(dim=1) if self.metric == "euclidean" else -cosine_similarity(one, two)

        return in_blocks(score, outputs.need("features", self.name), outputs.need("logits", self.name).argmax(1))
