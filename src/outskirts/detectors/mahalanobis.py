"""Mahalanobis distance to the nearest class.

References:
    | A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks
      (Lee et al., 2018)
    | https://arxiv.org/abs/1807.03888
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..bounds import NonNegative
from ..extraction.blocks import blocks, in_blocks, traced
from ..extraction.outputs import Outputs
from .base import Detector, register
from .common.inputs import training_labels, training_rows

__all__ = ["Mahalanobis", "nearest_distance", "tied_gaussians", "whitening"]

#: Eigenvalues below this share of the largest are the rounding noise of float32 features.
RCOND = 1e-12
#: Columns of a triangular matrix that are multiplied with at once.
_COLUMNS = 128


def tied_gaussians(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The class means and the covariance within classes, divided by N.

    Arguments:
        features: [N, D].
        labels: [N]; classes without an image have no mean.

    Returns:
        Means [C', D] of the C' classes that occur and covariance [D, D], float64.
    """
    present, index = labels.unique(return_inverse=True)
    dimension = features.shape[1]
    means = features.new_zeros(len(present), dimension, dtype=torch.float64)
    scatter, origin = means.new_zeros(dimension, dimension), features[:1].double()
    for rows, where in blocks(features, index):
        # About any one of the features, lest a large mean should leave no digits for what differs.
        wide = rows.double() - origin
        means.index_add_(0, where, wide)
        scatter.addmm_(wide.T, wide)
    counts = index.bincount()[:, None]
    means /= counts
    scatter.addmm_((counts * means).T, means, alpha=-1)
    return means + origin, scatter / len(features)


def whitening(covariance: Tensor, ridge: float = 0.0) -> Tensor:
    """A matrix A with ``A @ A.T`` equal to the inverse of ``covariance + ridge * I``.

    Without a ridge it is the pseudo-inverse: directions without variance are left out.

    Arguments:
        covariance: [D, D], float64.
        ridge: Variance added in every direction, in the units of the covariance.

    Returns:
        [D, D].
    """
    ridged = covariance + ridge * torch.eye(len(covariance)).to(covariance)
    factor, failed = torch.linalg.cholesky_ex(ridged)
    if not failed:
        inverse = torch.linalg.solve_triangular(factor, torch.eye(len(factor)).to(factor), upper=False)
        # No eigenvalue is below 1 / |inverse|^2, so that none is left out: a tenth of the time of finding them all.
        if RCOND * ridged.trace() * inverse.square().sum() < 1:
            return inverse.T
    values, vectors = torch.linalg.eigh(covariance)
    values = values.clamp_min(0) + ridge
    kept = values > RCOND * values.amax()
    return vectors * torch.where(kept, values, torch.inf).rsqrt()


def nearest_distance(features: Tensor, transform: Tensor, centers: Tensor) -> Tensor:
    """The squared distance of each whitened feature to the nearest of the whitened centres.

    Arguments:
        features: [N, D].
        transform: What `whitening` returned, [D, D].
        centers: Class means times `transform`, [C, D].

    Returns:
        [N], float64, at least 0.
    """
    norms = centers.square().sum(1)

    # Most are triangular, and what is zero in them need not be multiplied.
    triangular = not traced() and torch.equal(transform, transform.triu())
    ends = range(_COLUMNS, len(transform) + _COLUMNS, _COLUMNS) if triangular else [len(transform)]
    parts = [transform[:end, end - _COLUMNS if triangular else 0 : end].contiguous() for end in ends]

    def nearest(rows: Tensor) -> Tensor:
        wide = rows.to(transform)
        white = torch.cat([wide[:, : len(part)] @ part for part in parts], dim=1)
        # |white|^2 is the same for all classes, so it is added after the minimum.
        return torch.addmm(norms, white, centers.T, alpha=-2).amin(1) + white.square().sum(1)

    return in_blocks(nearest, features).clamp_min(0)


@register("mahalanobis")
class Mahalanobis(Detector):
    """Squared Mahalanobis distance to the nearest class mean under one covariance for all classes.

    Arguments:
        covariance: ``within`` classes, or ``total`` about the mean of all features, which the published code of CIDER
            takes for it.
        normalize: Scale every feature to unit length first, as CIDER and MDS++ do; ``mahalanobis:normalize=false`` is
            the form first published.
        ridge: Variance added in every direction, as a share of the mean variance within classes, at least 0. It
            bounds the weight of directions in which the training features hardly vary; 0 is the pseudo-inverse of
            the published code, which leaves directions without any variance out of account.
    """

    needs = frozenset({"features", "labels"})
    fit_on = "train"
    transform: Tensor | None
    centers: Tensor | None

    def __init__(
        self, ridge: NonNegative = 1e-6, covariance: Literal["within", "total"] = "within", normalize: bool = True
    ) -> None:
        super().__init__()
        self.covariance, self.normalize = covariance, normalize
        self.ridge = ridge
        self.register_buffer("transform", None)
        self.register_buffer("centers", None)

    def fit(self, outputs: Outputs) -> Mahalanobis:
        labels = training_labels(outputs, self.name)
        features = self._scaled(training_rows(outputs, self.name))
        means, covariance = outputs.cached(("tied", self.normalize), lambda: tied_gaussians(features, labels))
        if self.covariance == "total":
            covariance = features.double().T.cov()
        self.transform = whitening(covariance, self.ridge * covariance.diagonal().mean().item())
        self.centers = means @ self.transform
        return self

    def score(self, outputs: Outputs) -> Tensor:
        return nearest_distance(self._scaled(outputs.features), self.require("transform"), self.require("centers"))

    def _scaled(self, features: Tensor) -> Tensor:
        return normalize(features.float(), dim=1) if self.normalize else features
