"""Density under a Gaussian for each class.

References:
    | Deep Deterministic Uncertainty: A New Simple Baseline (Mukhoti et al., 2023)
    | https://arxiv.org/abs/2102.11582
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import OutskirtsError
from ..extraction.blocks import in_blocks
from ..extraction.outputs import Outputs
from ..synthesis.gaussian import shrunk
from .base import Detector, register
from .common.inputs import training_labels, training_rows

__all__ = ["GaussianMixture"]

#: Bytes that the matrices of all classes may take.
LARGEST = 2**33


@register("gaussian_mixture")
class GaussianMixture(Detector):
    """Negative logarithm of the density of a feature under a mixture of one Gaussian for each class.

    Each has a covariance of its own, shrunk towards a multiple of the identity as far as its few images make it
    uncertain (oracle approximating shrinkage), where the paper's code adds what jitter a factorisation takes. They take
    8 C D² bytes.
    """

    needs = frozenset({"features", "labels"})
    fit_on = "train"
    means: Tensor | None
    whitening: Tensor | None
    weights: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        for buffer in ("means", "whitening", "weights"):
            self.register_buffer(buffer, None)

    def fit(self, outputs: Outputs) -> GaussianMixture:
        labels, features = training_labels(outputs, self.name), training_rows(outputs, self.name)
        present, counts = labels.unique(return_counts=True)
        dimension = features.shape[1]
        if (size := 8 * len(present) * dimension**2) > LARGEST:
            raise OutskirtsError(
                f"The covariances of the detector '{self.name}' would take {size / 2**30:.0f} GB, for "
                f"{len(present)} classes of {dimension} features; use 'mahalanobis', which has one covariance "
                "for all classes."
            )
        identity = torch.eye(dimension).to(features).double()
        # Filled in place, as all of them together may take most of the memory.
        means = identity.new_empty(len(present), dimension)
        whitening = identity.new_empty(len(present), *identity.shape)
        for label, mean, whiten in zip(present, means, whitening):
            rows = features[labels == label].double()
            mean.copy_(rows.mean(0))
            centered = rows - mean
            factor = torch.linalg.cholesky(shrunk(centered.T @ centered / len(rows), len(rows)))
            whiten.copy_(torch.linalg.solve_triangular(factor, identity, upper=False).T)
        self.means, self.whitening = means, whitening
        self.weights = (counts / counts.sum()).double()
        return self

    def score(self, outputs: Outputs) -> Tensor:
        means, whitening, weights = (self.require(name) for name in ("means", "whitening", "weights"))
        volumes = -whitening.diagonal(dim1=1, dim2=2).log().sum(1)

        def score(rows: Tensor) -> Tensor:
            distances = [((rows.to(mean) - mean) @ whiten).square().sum(1) for mean, whiten in zip(means, whitening)]
            densities = weights.log() - volumes - 0.5 * torch.stack(distances, 1)
            return -densities.logsumexp(1)

        return in_blocks(score, outputs.need("features", self.name))
