"""Mahalanobis distances at several depths of the network.

References:
    | A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks
      (Lee et al., 2018)
    | https://arxiv.org/abs/1807.03888
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..bounds import Count, NonNegative
from ..extraction.outputs import Outputs
from ..extraction.probes import StageProbe
from .base import Detector, register
from .common.inputs import training_labels
from .mahalanobis import nearest_distance, tied_gaussians, whitening

__all__ = ["MahalanobisEnsemble", "PooledMaps"]


@dataclass(frozen=True)
class PooledMaps(StageProbe):
    """A probe: the mean of each map of a stage, [B, C].

    Arguments:
        stage: Counted from the last, which is -1.
    """

    stage: int

    @property
    def key(self) -> str:
        """Names the tensor in the outputs."""
        return f"pooled{self.stage}"

    def reduce(self, maps: Tensor) -> Tensor:
        return maps.mean((2, 3))


@register("mahalanobis_ensemble")
class MahalanobisEnsemble(Detector):
    """The mean over stages of squared Mahalanobis distances of pooled maps to the nearest class mean.

    Each stage's distances are in units of their standard deviation over the training images, about their mean. The
    paper weighs stages by a logistic regression on outliers, which are not to be had here, and moves images against
    the gradient first.

    Arguments:
        stages: Number of stages, at least 1, from the last; see `outskirts.models.stages.find_stages`.
        ridge: Variance added in every direction, as a share of the mean variance within classes, at least 0; see
            `mahalanobis`.
    """

    needs = frozenset({"labels"})
    fit_on = "train"
    fits_probes = True

    def __init__(self, stages: Count = 3, ridge: NonNegative = 1e-6) -> None:
        super().__init__()
        self.stages = stages
        self.ridge = ridge
        self.probes = tuple(PooledMaps(-1 - place) for place in range(stages))
        for place in range(stages):
            for part in ("transform", "centers", "scale"):
                self.register_buffer(f"{part}{place}", None)

    def fit(self, outputs: Outputs) -> MahalanobisEnsemble:
        labels = training_labels(outputs, self.name)
        for place, probe in enumerate(self.probes):
            pooled = outputs.need(probe.key, self.name)
            means, covariance = tied_gaussians(pooled, labels)
            transform = whitening(covariance, self.ridge * covariance.diagonal().mean().item())
            distances = nearest_distance(pooled, transform, means @ transform)
            spread = torch.stack([distances.mean(), distances.std(correction=0).clamp_min(1e-12)])
            for part, value in (("transform", transform), ("centers", means @ transform), ("scale", spread)):
                setattr(self, f"{part}{place}", value)
        return self

    def score(self, outputs: Outputs) -> Tensor:
        scores = []
        for place, probe in enumerate(self.probes):
            transform, centers, spread = (self.require(f"{part}{place}") for part in ("transform", "centers", "scale"))
            distances = nearest_distance(outputs.need(probe.key, self.name), transform, centers)
            scores.append((distances - spread[0]) / spread[1])
        return torch.stack(scores).mean(0)
