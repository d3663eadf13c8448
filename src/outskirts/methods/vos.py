r"""VOS: virtual outliers from the tails of class-conditional Gaussians in feature space.

The latest features of each class are taken for Gaussian, with one covariance for all classes. Each step draws from
them, keeps the least likely points as outliers, and adds to the cross-entropy a logistic regression that tells the
energy of images from that of outliers:

.. math::
    L = \mathrm{CE}(z, y) + \beta \, \big( \mathrm{E}_x \log(1 + e^{-\phi(E(x))})
        + \mathrm{E}_v \log(1 + e^{\phi(E(v))}) \big)

:math:`E` is a weighted energy of the logits (`EnergyOODHead`). Outliers are constants; the regulariser trains the
network through the images, whose energy falls, the last layer and the regression through both. The published
test score is the plain energy of the logits, the detector ``energy``, not φ.

Where the published code and the paper differ, or the code has a defect:

* The code averages over images and outliers together, in which the few outliers hardly count; the paper and we add the
  two means.
* OpenOOD's port computes the energy outside the graph, so that its regulariser trains the logistic regression alone and
  the network as plain cross-entropy does; most published comparisons come from it. ``reference_quirks=True`` does the
  same, with the pooled average. Unlike the port, it does not draw the energy's weights anew at every call, which
  only adds noise to what trains nothing.
* The code waits until all queues are full; here a class has outliers as soon as it has features to vary.
* The covariance is shrunk to be positive definite whatever the number of features, and estimated anew every few
  steps; see `GaussianSynthesizer`, which also finds the outliers without drawing the rest.
* The energy's weights begin at 1, not at random.

References:
    | VOS: Learning What You Don't Know by Virtual Outlier Synthesis (Du et al., 2022)
    | https://arxiv.org/abs/2202.01197
    | https://github.com/deeplearning-wisc/vos
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from ..bounds import Count, NonNegative, Share
from ..data.loading.batches import Batch
from ..distributed import processes
from ..models.classifier import Classifier
from ..models.heads import LinearHead
from ..models.ood_head import EnergyOODHead
from .averages import classification
from .base import register
from .exposure import ood_head_terms
from .options import GaussianOptions, scalars
from .queued import Queued

__all__ = ["VOS", "VOSConfig"]


@dataclass(frozen=True)
class VOSConfig(GaussianOptions):
    """VOS."""

    keep: Count = 1
    """Outliers to keep of the points drawn for each class, at least 1: the least likely ones."""
    outlier_weight: NonNegative = 0.1
    """Weight β of the regulariser, at least 0, which separates images and outliers; 0 disables it."""
    label_smoothing: Share = 0.0
    """Label smoothing: probability spread evenly over all classes in the target, from 0 to 1."""
    reference_quirks: bool = False
    """Treat energies as constants, as OpenOOD does; the network then trains as with cross-entropy alone."""


_SCRATCH = {"backbone": "resnet18-cifar", "epochs": 100, "lr": 0.1, "batch_size": 128, "augment": "flip,crop:4"}
_RECIPE = {"optimizer": "sgd", "weight_decay": 5e-4, "warmup": 0.0}


@register("vos")
class VOS(Queued[VOSConfig]):
    """Cross-entropy, and energies of images apart from those of virtual outliers."""

    Config = VOSConfig
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "cifar10": {**_SCRATCH, **_RECIPE},
        "cifar100": {**_SCRATCH, **_RECIPE},
        "quick": {"backbone": "fast"},
    }

    def __init__(self, config: VOSConfig, classifier: Classifier) -> None:
        super().__init__(config, classifier)
        self.synthesizer = config.gaussian_synthesizer(len(classifier.classes), classifier.dim)

    @classmethod
    def head(cls, config: VOSConfig, dim: int, classes: int) -> nn.Module:
        return LinearHead(nn.Linear(dim, classes), ood_head=EnergyOODHead(classes))

    @classmethod
    def detectors(cls, config: VOSConfig) -> Sequence[Mapping[str, Any]]:
        return ({"name": "energy"},)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        features = self.classifier.features(batch.images)
        logits = self.classifier.head(features).float()
        self.remember(features, batch)
        outliers = self.synthesized(batch)
        outlier_logits = self.classifier.head(outliers.values).float()
        loss_id = classification(logits, batch.labels, batch.weights, self.config.label_smoothing)
        loss_outlier, accuracy = self._regularizer(features, logits, outliers.values, outlier_logits, batch.weights)
        return {
            "loss": loss_id + self.config.outlier_weight * loss_outlier,
            "loss_id": loss_id.detach(),
            "loss_outlier": loss_outlier.detach(),
            "outlier_accuracy": accuracy,
            **scalars(outliers),
        }

    def _regularizer(
        self,
        features: Tensor,
        logits: Tensor,
        outlier_features: Tensor,
        outlier_logits: Tensor,
        weights: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """The logistic loss, and how well it tells images from outliers."""
        head, quirks = self.classifier.head, self.config.reference_quirks
        assert isinstance(head, LinearHead) and head.ood_head is not None
        if quirks:
            logits, outlier_logits = logits.detach(), outlier_logits.detach()
        phi, outlier_phi = head.ood_head(features, logits), head.ood_head(outlier_features, outlier_logits)
        return ood_head_terms(phi, outlier_phi, "pooled" if quirks else "balanced", weights, processes())
