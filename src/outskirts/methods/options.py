"""Options that several methods share, and what they make of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from ..data.loading.batches import Batch
from ..distributed import processes, quadratic_mean
from ..errors import OutskirtsError
from ..synthesis.boundary import BoundarySynthesizer
from ..synthesis.gaussian import GaussianSynthesizer
from ..synthesis.outliers import Outliers
from .base import Config, require_share
from .exposure import risk_terms

__all__ = ["BoundaryOptions", "GaussianOptions", "OODHeadOptions", "QueueOptions", "scalars"]


@dataclass(frozen=True)
class QueueOptions(Config):
    """Outliers made of remembered features."""

    queue: int = 1000
    """Latest feature vectors to remember of each class."""
    start: float = 0.4
    """Share of the training after which outliers are made."""
    keep: int = 2
    """Outliers to keep of each set of candidates: those of lowest density."""

    def __post_init__(self) -> None:
        require_share("start", self.start)

    def started(self, batch: Batch) -> bool:
        """Whether outliers are made at this step."""
        return (batch.epoch - 1) / batch.epochs >= self.start


@dataclass(frozen=True)
class BoundaryOptions(QueueOptions):
    """Outliers about the boundary of each class; see `BoundarySynthesizer`."""

    k: int = 300
    """The density at a point goes by the distance to its k-th neighbour."""
    boundary: int = 200
    """Features of each class with the lowest density, which count as its boundary."""
    picks: int = 2
    """Boundary features to use of each class and step."""
    candidates: int = 600
    """Candidates about each of them."""
    sigma: float = 0.03
    """Standard deviation of the candidates in each dimension."""
    space: Literal["sphere", "raw"] = "sphere"
    """Whether candidates are drawn about features of unit length, or of their own."""
    classes_per_step: int = 0
    """Classes to make outliers of in a step, drawn at random from those that are ready; 0 takes all."""
    selection: Literal["distance", "random"] = "distance"
    """Keep the candidates farthest from their class, or any."""
    synthesis_budget: int = BoundarySynthesizer.budget
    """Bytes that features, candidates and distances may take at once."""

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
                f"boundary = {self.boundary} need; choose smaller ones or a longer queue."
            )
        return synthesizer


@dataclass(frozen=True)
class OODHeadOptions(BoundaryOptions):
    """A network φ trained to tell images from outliers about the boundary of each class."""

    outlier_weight: float = 0.1
    """Weight β of telling images from outliers."""
    reduction: Literal["balanced", "pooled"] = "balanced"
    """Whether images and outliers count alike, or every row does."""
    ood_head_lr_factor: float = 1.0
    """Learning rate of φ relative to the rest."""
    reference_quirks: bool = False
    """Make outliers and average as published."""

    def ood_loss(
        self, network: nn.Module | None, features: Tensor, outliers: Tensor, weights: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The loss of φ on features of images and of outliers, and how well it tells them apart."""
        assert network is not None
        reduction = "pooled" if self.reference_quirks else self.reduction
        return risk_terms(network(features.to(outliers)), network(outliers), reduction, weights, processes())


@dataclass(frozen=True)
class GaussianOptions(QueueOptions):
    """Outliers in the tails of a Gaussian per class; see `GaussianSynthesizer`."""

    draws: int = 10_000
    """Points drawn of each class, of which the farthest are kept."""
    refresh: int = 10
    """Steps between estimates of the means and the covariance."""

    def gaussian_synthesizer(self, classes: int, dim: int) -> GaussianSynthesizer:
        """The synthesiser of these options."""
        return GaussianSynthesizer(classes, dim, draws=self.draws, keep=self.keep, refresh=self.refresh)


def scalars(outliers: Outliers) -> dict[str, Tensor]:
    """The diagnostics that are one number, to record."""
    diagnostics = {name: value for name, value in outliers.info.items() if value.ndim == 0}
    # A root of a mean of squares is the only one that the average over processes is not, and not the same on all.
    return diagnostics | {name: quadratic_mean(value) for name, value in diagnostics.items() if name == "change"}
