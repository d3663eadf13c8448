"""Relative Mahalanobis distance.

References:
    | A Simple Fix to Mahalanobis Distance for Improving Near-OOD Detection (Ren et al., 2021)
    | https://arxiv.org/abs/2106.09022
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..bounds import NonNegative
from ..extraction.outputs import Outputs
from .base import Detector, register
from .common.inputs import training_labels, training_rows
from .mahalanobis import nearest_distance, tied_gaussians, whitening

__all__ = ["RelativeMahalanobis"]


@register("relative_mahalanobis")
class RelativeMahalanobis(Detector):
    """Squared Mahalanobis distance to the nearest class less that to one Gaussian over all images.

    Arguments:
        ridge: Variance added in every direction of both Gaussians, at least 0, as a share of the mean variance within
            classes; equal amounts let directions that tell nothing about the class cancel. 0 is the
            pseudo-inverse, under which an obvious outlier can score as in-distribution.
    """

    needs = frozenset({"features", "labels"})
    fit_on = "train"
    transform: Tensor | None
    centers: Tensor | None
    background: Tensor | None
    center: Tensor | None

    def __init__(self, ridge: NonNegative = 1e-6) -> None:
        super().__init__()
        self.ridge = ridge
        for buffer in ("transform", "centers", "background", "center"):
            self.register_buffer(buffer, None)

    def fit(self, outputs: Outputs) -> RelativeMahalanobis:
        labels = training_labels(outputs, self.name)
        features = training_rows(outputs, self.name)
        means, within = outputs.cached(("tied", False), lambda: tied_gaussians(features, labels))
        mean, total = tied_gaussians(features, torch.zeros_like(labels))
        ridge = self.ridge * within.diagonal().mean().item()
        self.transform, self.background = whitening(within, ridge), whitening(total, ridge)
        self.centers, self.center = means @ self.transform, mean @ self.background
        return self

    def score(self, outputs: Outputs) -> Tensor:
        nearest = nearest_distance(outputs.features, self.require("transform"), self.require("centers"))
        return nearest - nearest_distance(outputs.features, self.require("background"), self.require("center"))
