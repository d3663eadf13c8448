"""Options that several methods share, and what they make of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from ..bounds import Count, NonNegative, Share
from ..data.loading.batches import Batch
from ..distributed import processes, quadratic_mean
from ..errors import OutskirtsError
from ..synthesis.boundary import BoundarySynthesizer
from ..synthesis.gaussian import GaussianSynthesizer
from ..synthesis.outliers import Outliers
from .base import Config
from .exposure import ood_head_terms

__all__ = ["BoundaryOptions", "GaussianOptions", "OODHeadOptions", "QueueOptions", "scalars"]


@dataclass(frozen=True)
class QueueOptions(Config):
    """Outliers made of remembered features."""

    queue: Count = 1000
    """Length of the queue of each class, at least 1: the latest feature vectors to remember."""
    start: Share = 0.4
    """Share of the training, from 0 to 1, after which outliers are made."""
    keep: Count = 2
    """Outliers to keep of each set of candidates, at least 1: those of lowest density."""

    def started(self, batch: Batch) -> bool:
        """Whether outliers are made at this step."""
        return (batch.epoch - 1) / batch.epochs >= self.start


@dataclass(frozen=True)
class BoundaryOptions(QueueOptions):
    """Options of outliers at the boundary of each class, which `BoundarySynthesizer` makes."""

    k: Count = 300
    """Rank of the neighbour whose distance measures the density at a point, at least 1; 1 is the nearest."""
    boundary: Count = 200
    """Size of the boundary set of each class, at least 1: the features of lowest density."""
    picks: Count = 2
    """Boundary features of each class to use in one step, at least 1 and at most --boundary."""
    candidates: Count = 600
    """Candidates drawn for each boundary feature, at least 1 and at least --keep."""
    sigma: NonNegative = 0.03
    """Standard deviation of the noise of the candidates in every dimension, at least 0."""
    space: Literal["sphere", "raw"] = "sphere"
    """Where noise is added: to features scaled to norm 1 (sphere), or to features as they are (raw)."""
    classes_per_step: Count | None = None
    """Number of classes, at least 1, to make outliers of in one step, drawn at random from the classes that have
    enough features. Default: all of them."""
    selection: Literal["distance", "random"] = "distance"
    """Which candidates to keep: the farthest from their class (distance), or any (random)."""
    synthesis_budget: Count = BoundarySynthesizer.budget
    """Bytes that features, candidates and distances may use at the same time, at least 1."""

    def boundary_synthesizer(self, reference_quirks: bool = False) -> BoundarySynthesizer:
        """The synthesiser of these options."""
        synthesizer = BoundarySynthesizer(
            k=self.k,
            boundary=self.boundary,
            picks=self.picks,
            candidates=self.candidates,
            keep=self.keep,
            sigma=self.sigma,
            space=self.space,
            selection=self.selection,
            classes_per_call=self.classes_per_step,
            budget=self.synthesis_budget,
            reference_quirks=reference_quirks,
        )
        if synthesizer.needed > self.queue:
            raise OutskirtsError(
                f"A queue of {self.queue} features never holds the {synthesizer.needed} that k = {self.k} and "
                f"boundary = {self.boundary} need; choose smaller values or a longer queue."
            )
        return synthesizer


@dataclass(frozen=True)
class OODHeadOptions(BoundaryOptions):
    """A network φ trained to tell images from outliers about the boundary of each class."""

    outlier_weight: NonNegative = 0.1
    """Weight β of the loss that separates images and outliers, at least 0; 0 disables it."""
    reduction: Literal["balanced", "pooled"] = "balanced"
    """Average of the outlier loss: the sum of the means of images and outliers (balanced), or one mean over both
    together (pooled)."""
    ood_head_lr_factor: NonNegative = 1.0
    """Learning rate of the network φ as a multiple of that of the rest, at least 0; 1 is the same rate."""
    reference_quirks: bool = False
    """Make outliers and average exactly as the published code does."""

    def ood_loss(
        self, network: nn.Module | None, features: Tensor, outliers: Tensor, weights: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The loss of φ on features of images and of outliers, and how well it tells them apart."""
        assert network is not None
        reduction = "pooled" if self.reference_quirks else self.reduction
        return ood_head_terms(network(features.to(outliers)), network(outliers), reduction, weights, processes())


@dataclass(frozen=True)
class GaussianOptions(QueueOptions):
    """Options of outliers in the tails of a Gaussian per class, which `GaussianSynthesizer` makes."""

    draws: Count = 10_000
    """Points drawn for each class, at least 1 and at least --keep; only the least likely are kept."""
    refresh: Count = 10
    """Training steps between two estimates of the means and the covariance, at least 1."""

    def gaussian_synthesizer(self, classes: int, dim: int) -> GaussianSynthesizer:
        """The synthesiser of these options."""
        return GaussianSynthesizer(classes, dim, draws=self.draws, keep=self.keep, refresh=self.refresh)


def scalars(outliers: Outliers) -> dict[str, Tensor]:
    """The diagnostics that are one number, to record."""
    diagnostics = {name: value for name, value in outliers.info.items() if value.ndim == 0}
    # A root of a mean of squares is the only one that the average over processes is not, and not the same on all.
    return diagnostics | {name: quadratic_mean(value) for name, value in diagnostics.items() if name == "change"}
