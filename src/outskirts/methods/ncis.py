r"""NCIS and Dream-OOD: the energy of images told from that of imagined outliers.

The outliers are images, made beforehand by a diffusion model (``outskirts synthesize ncis``), or any others on disk.
Each step classifies a batch of images and tells its energies from those of a batch of outliers:

.. math:: L = \mathrm{CE}(z, y) + w \, \mathrm{E}_{x \in \mathrm{images} \cup \mathrm{outliers}} \,
    \log(1 + e^{\mp \phi(\log \sum_c e^{z_c / T})})

where φ is a logistic regression or a small network, trained as well, and the mean goes over both batches together, as
published; ``reduction="balanced"`` adds one mean of each. The score at test time is the plain energy of the logits.

Where the published code has a defect, or is of one machine only:

* Outliers and images share their normalisation statistics there, running ones included; ``batchnorm="separate"`` keeps
  outliers out of what evaluation uses.
* With fewer images of outliers than are asked for it stops; here they are gone through again, in a new order.
* The prototype of the specification saw outliers near the classes raise detection near them, and lower it far away:
  ``far_share`` replaces some of each batch of outliers by noise and by images in disorder.

References:
    | Non-Linear Outlier Synthesis for Out-of-Distribution Detection (Doorenbos et al., 2024)
    | https://arxiv.org/abs/2411.13619
    | https://github.com/LarsDoorenbos/NCIS
    | Dream the Impossible: Outlier Imagination with Diffusion Models (Du et al., 2023)
    | https://arxiv.org/abs/2309.13415
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ..bounds import NonNegative, Positive, Share
from ..data.loading.batches import Batch
from ..models.heads import LinearHead
from ..models.normalization import Statistics, beside
from ..models.ood_head import PlainEnergyOODHead
from ..synthesis.jigsaw import far_outliers
from .averages import classification
from .base import Config, Method, register
from .exposure import ood_head_terms

__all__ = ["NCIS", "NCISConfig"]


@dataclass(frozen=True)
class NCISConfig(Config):
    """NCIS."""

    outlier_weight: NonNegative = 1.0
    """Weight w of the loss that separates the energies of images and outliers, at least 0; 0 disables it."""
    ood_head: Literal["linear", "mlp"] = "linear"
    """Network that separates the energies: a logistic regression, as published for CIFAR-100 (linear), or a network
    with 512 hidden units (mlp)."""
    temperature: Positive = 1.0
    """Temperature T of the energy, above 0; 1 is the usual energy."""
    reduction: Literal["pooled", "balanced"] = "pooled"
    """Average of the outlier loss: one mean over images and outliers together (pooled), or the sum of both means
    (balanced)."""
    far_share: Share = 0.0
    """Share of the outliers, from 0 to 1, that are replaced by noise and by images cut into shuffled pieces."""
    batchnorm: Statistics = "shared"
    """Batch normalisation of outliers: together with the images (shared), or separate and left out of the running
    statistics."""
    label_smoothing: Share = 0.0
    """Label smoothing: probability spread evenly over all classes in the target, from 0 to 1."""

    @property
    def needs_outlier_images(self) -> bool:
        return True


_SCRATCH = {"backbone": "resnet34-cifar", "augment": "flip,crop:4", "batch_size": 256}
_LARGE = {"backbone": "torchvision:resnet34", "size": 224, "augment": "resized-crop,flip", "batch_size": 80}
_RECIPE = {"optimizer": "sgd", "lr": 0.1, "weight_decay": 5e-4, "warmup": 0.0}


@register("ncis")
class NCIS(Method[NCISConfig]):
    """Cross-entropy, and energies of images apart from those of images of outliers."""

    Config = NCISConfig
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "cifar100": {**_SCRATCH, **_RECIPE, "epochs": 250},
        "imagenet100": {**_LARGE, **_RECIPE, "epochs": 20, "ood_head": "mlp"},
        "dream-cifar100": {**_SCRATCH, **_RECIPE, "epochs": 200, "outlier_weight": 2.5},
        "dream-imagenet100": {**_LARGE, **_RECIPE, "epochs": 20, "lr": 1e-3, "ood_head": "mlp"},
    }

    @classmethod
    def head(cls, config: NCISConfig, dim: int, classes: int) -> nn.Module:
        ood_head = PlainEnergyOODHead(512 if config.ood_head == "mlp" else 0, config.temperature)
        return LinearHead(nn.Linear(dim, classes), ood_head=ood_head)

    @classmethod
    def detectors(cls, config: NCISConfig) -> Sequence[Mapping[str, Any]]:
        return ({"name": "energy"},)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        outliers = self._outliers(batch)
        features, outlier_features = beside(
            self.classifier, self.classifier.features, batch.images, outliers, self.config.batchnorm
        )
        logits, outlier_logits = (self.classifier.head(each).float() for each in (features, outlier_features))
        head = self.classifier.head
        assert isinstance(head, LinearHead) and head.ood_head is not None
        phi, outlier_phi = head.ood_head(features, logits), head.ood_head(outlier_features, outlier_logits)
        loss_id = classification(logits, batch.labels, batch.weights, self.config.label_smoothing)
        loss_outlier, accuracy = ood_head_terms(phi, outlier_phi, self.config.reduction, batch.weights)
        return {
            "loss": loss_id + self.config.outlier_weight * loss_outlier,
            "loss_id": loss_id.detach(),
            "loss_outlier": loss_outlier.detach(),
            "outlier_accuracy": accuracy,
            "energy_id": -logits.detach().logsumexp(1).mean(),
            "energy_outlier": -outlier_logits.detach().logsumexp(1).mean(),
        }

    def _outliers(self, batch: Batch) -> Tensor:
        """Those of the batch, some of them replaced by far ones."""
        assert batch.outliers is not None
        count = min(round(self.config.far_share * len(batch.outliers)), 2 * len(batch.images))
        return torch.cat([batch.outliers[count:], far_outliers(batch.images, count, batch.generator)])
