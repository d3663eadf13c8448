r"""Outlier Exposure with synthesised outliers: any way to make them with any loss on them.

Each step adds a loss on outliers to the cross-entropy:

.. math:: L = \mathrm{CE}(z, y) + w \, L_\mathrm{exposure}

Outliers in pixel space are made of the batch and go through the network with it. Outliers in feature space are made of
the latest features of each class and go through the head only; they are constants, so that the network learns from
them only as far as the loss also rates the images, while the head and the network φ learn from both.

The papers expose to images of an auxiliary set, which ``outliers="images"`` does. All others are made of the training
images, so that no such set can leak into the test. The margins, in nats, are the published ones for CIFAR-10, with
which a trained network is tuned (``--init``); from scratch they cost accuracy. With ``outliers="gaussian"`` and
``exposure="energy"`` this is VOS.

References:
    | Deep Anomaly Detection with Outlier Exposure (Hendrycks et al., 2019)
    | https://arxiv.org/abs/1812.04606
    | https://github.com/hendrycks/outlier-exposure
    | Energy-based Out-of-distribution Detection (Liu et al., 2020): ``exposure="margin"``
    | https://arxiv.org/abs/2010.03759
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from torch import Tensor, nn

from ..bounds import Finite, NonNegative, Share
from ..data.loading.batches import Batch
from ..models.classifier import Classifier
from ..models.heads import LinearHead
from ..models.normalization import Statistics, beside
from ..models.ood_head import EnergyOODHead, FeatureOODHead
from ..synthesis.outliers import FeatureSynthesizer, Outliers
from ..synthesis.pixel import PixelSynthesizer
from .averages import classification
from .base import register
from .exposure import energy_margin, ood_head_terms, uniformity
from .options import BoundaryOptions, GaussianOptions, scalars
from .queued import Queued, queued_outliers

__all__ = ["OE", "OEConfig"]

PixelKind = Literal["shuffle", "random-shuffle", "gradient", "dense", "subtract", "noise"]
FeatureKind = Literal["boundary", "gaussian"]
DiskKind = Literal["images"]


@dataclass(frozen=True)
class OEConfig(BoundaryOptions, GaussianOptions):
    """Outlier Exposure."""

    outliers: Literal[PixelKind, FeatureKind, DiskKind] = "shuffle"
    """How outliers are made: from pixels (shuffle, random-shuffle, gradient, dense, subtract, noise), from features
    near the class boundaries (boundary) or in the tails of the classes (gaussian), or read from --outlier-images
    (images)."""
    exposure: Literal["uniform", "energy", "features", "margin"] = "uniform"
    """Loss on outliers: uniform predictions (uniform), a small network that separates energies (energy) or features
    (features), or a margin between energies (margin)."""
    outlier_weight: NonNegative = 0.5
    """Weight of the loss on outliers, at least 0; published as 0.5 for uniform and 0.1 for the others."""
    start: Share = 0.0
    """Share of the training, from 0 to 1, after which outliers are made."""
    p_inv: Share = 0.1
    """Share of each image, from 0 to 1, that decides its class and is changed in outliers made from pixels."""
    alpha: NonNegative = 1.0
    """Strength of the gradient relative to the image, or standard deviation of the noise, at least 0; 0 adds
    nothing."""
    batchnorm: Statistics = "shared"
    """Batch normalisation of outliers: together with the images (shared), or separate and left out of the running
    statistics."""
    m_in: Finite = -23.0
    """Energy above which images are penalised by the margin loss, in nats."""
    m_out: Finite = -5.0
    """Energy below which outliers are penalised by the margin loss, in nats."""
    label_smoothing: Share = 0.0
    """Label smoothing: probability spread evenly over all classes in the target, from 0 to 1."""

    @property
    def needs_outlier_images(self) -> bool:
        return self.outliers == "images"

    def pixel_synthesizer(self) -> PixelSynthesizer:
        """The synthesiser of outliers made of pixels."""
        kind = "gaussian" if self.outliers == "noise" else self.outliers
        return PixelSynthesizer(kind=kind, p_inv=self.p_inv, relative=True)  # type: ignore[arg-type]


@register("oe")
class OE(Queued[OEConfig]):
    """Cross-entropy on images and an exposure loss on outliers made of them."""

    Config = OEConfig
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "energy-margin": {"exposure": "margin", "outlier_weight": 0.1},
    }

    def __init__(self, config: OEConfig, classifier: Classifier) -> None:
        super().__init__(config, classifier)
        if self.needs_queue:
            self.from_features: FeatureSynthesizer = (
                config.boundary_synthesizer()
                if config.outliers == "boundary"
                else config.gaussian_synthesizer(len(classifier.classes), classifier.dim)
            )
        elif not self.needs_outlier_images:
            self.from_pixels = config.pixel_synthesizer()

    @classmethod
    def head(cls, config: OEConfig, dim: int, classes: int) -> nn.Module:
        ood_heads = {"energy": lambda: EnergyOODHead(classes), "features": lambda: FeatureOODHead(dim)}
        make = ood_heads.get(config.exposure)
        return LinearHead(nn.Linear(dim, classes), ood_head=make and make())

    @property
    def needs_queue(self) -> bool:
        return self.config.outliers in get_args(FeatureKind)

    def outliers(self, batch: Batch) -> Outliers | None:
        return None if self.needs_outlier_images else super().outliers(batch)

    def synthesized(self, batch: Batch) -> Outliers:
        if self.queue is None:
            return self._made_of_pixels(batch)
        return queued_outliers(self.config, self.from_features, self.queue, batch)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        if self.queue is None:
            outliers = self.synthesized(batch)
            features, outlier_features = beside(
                self.classifier, self.classifier.features, batch.images, outliers.values, self.config.batchnorm
            )
        else:
            features = self.classifier.features(batch.images)
            self.remember(features, batch)
            outliers = self.synthesized(batch)
            outlier_features = outliers.values
        logits, outlier_logits = (self.classifier.head(each).float() for each in (features, outlier_features))
        loss_id = classification(logits, batch.labels, batch.weights, self.config.label_smoothing)
        loss_outlier, decision = self._exposure(features, logits, outlier_features, outlier_logits, batch.weights)
        # Without outliers there is nothing to tell the images from.
        loss_outlier = loss_outlier * (len(outliers) > 0)
        return {
            "loss": loss_id + self.config.outlier_weight * loss_outlier,
            "loss_id": loss_id.detach(),
            "loss_outlier": loss_outlier.detach(),
            **decision,
            **scalars(outliers),
        }

    def _made_of_pixels(self, batch: Batch) -> Outliers:
        if batch.outliers is not None and self.config.started(batch):
            # Of which class they were made, if of any, no loss asks.
            return Outliers(batch.outliers, batch.labels.new_full((len(batch.outliers),), -1))
        if not self.config.started(batch):
            return Outliers(batch.images[:0], batch.labels[:0], {"change": batch.images.new_zeros(())})
        return self.from_pixels(self.classifier, batch.images, batch.labels, self.config.alpha, batch.generator)

    def _exposure(
        self,
        features: Tensor,
        logits: Tensor,
        outlier_features: Tensor,
        outlier_logits: Tensor,
        weights: Tensor | None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and how well images and outliers are told apart where a network does so."""
        if self.config.exposure == "uniform":
            return uniformity(outlier_logits), {}
        if self.config.exposure == "margin":
            return energy_margin(logits, outlier_logits, self.config.m_in, self.config.m_out, weights), {}
        head = self.classifier.head
        assert isinstance(head, LinearHead) and head.ood_head is not None
        phi, outlier_phi = head.ood_head(features, logits), head.ood_head(outlier_features, outlier_logits)
        loss, accuracy = ood_head_terms(phi, outlier_phi, weights=weights)
        return loss, {"outlier_accuracy": accuracy}
