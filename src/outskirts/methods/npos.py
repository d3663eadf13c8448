r"""NPOS: tell images from outliers at the boundary of their class, without assuming its distribution.

An embedding is trained as in CIDER, and beside it a small network φ that is to be high on features of images and low on
outliers made of the latest features of each class (`BoundarySynthesizer`):

.. math::
    L = \lambda_c L_\mathrm{comp} + \lambda_d L_\mathrm{dis} + \beta \, \big( \mathrm{E}_x \log(1 + e^{-\phi(x)})
        + \mathrm{E}_v \log(1 + e^{\phi(v)}) \big)

Outliers are constants, so that the network learns from φ of the images alone. The published score is not φ but, as in
CIDER, the distance to the k-th nearest training image in the penultimate features; φ is the detector ``ood_head``.

Where the published code and the paper differ, or the code has a defect:

* Which candidates are kept has in the code nothing to do with their distances (`BoundarySynthesizer`); published
  numbers probably used noise about boundary points without rejection, which ``selection="random"`` does.
* The queues are emptied with every epoch, but counted as full, so that vectors of zeros are taken for the boundary.
  Here they persist, and a class takes part as soon as it has enough features.
* The code averages over images and outliers together, by which the images, the only ones to train the network, count
  for little where outliers are many; the paper and we add the two means. ``reduction="pooled"`` is the code's.
* φ's learning rate, meant to be a tenth, is overwritten by the code's schedule; here ``ood_head_lr_factor`` holds.
* Noise is added on the unit sphere, as in DREAM-OOD, since distances are angles: then σ has a meaning that does not
  depend on the length of features. ``space="raw"`` is published.
* Prototypes begin at the training images' class means, where the code takes the test images.
* As shipped, the ImageNet-100 code from scratch never adds the loss of φ to the other, and fails in its second epoch.

Noise has one size whatever the features' spread, so that the network can make φ's task easy by drawing all features,
those of OOD images too, into a narrow cone. In the code's average over all rows the network's part of φ's loss counts
as N of N + M rows, a tenth or less; with the two means, short trainings want a smaller β. The method warns of the cone.

``reference_quirks`` brings back selection, self-match, shared noise, emptied queues, pooled average, φ's learning rate
and the warm-up.

References:
    | Non-Parametric Outlier Synthesis (Tao et al., 2023)
    | https://arxiv.org/abs/2303.02966
    | https://github.com/deeplearning-wisc/npos
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..bounds import Count, NonNegative
from ..data.loading.batches import Batch
from ..devices import full_precision
from ..models.classifier import Classifier
from ..models.ood_head import FeatureOODHead
from .base import register
from .cider import CIDER, QUICK, CIDERConfig
from .embedding import SCRATCH
from .options import OODHeadOptions, scalars
from .queued import Queued

__all__ = ["NPOS", "NPOSConfig"]


@dataclass(frozen=True)
class NPOSConfig(CIDERConfig, OODHeadOptions):
    """NPOS."""

    compactness_weight: NonNegative = 0.1 / 0.07
    """Weight of the compactness loss, at least 0, which pulls images to the prototype of their class; published as 1,
    times 0.1 / 0.07 in the code."""
    dispersion_weight: NonNegative = 0.5
    """Weight of the dispersion loss, at least 0, which pushes prototypes apart; 0 disables it."""
    ood_head_hidden: Count = 128
    """Units of the hidden layer of the network φ, at least 1."""
    reference_quirks: bool = False
    """Make outliers, average and warm up exactly as the published code does."""


#: Where features at the boundary of their class are nearer to it than this share of the outliers' distance, features
#: have shrunk to a cone that is narrow beside the noise.
_COLLAPSING = 1 / 3

#: The published scripts': smaller batches than CIDER's, and therefore no warm-up.
_SCRATCH = {**SCRATCH, "batch_size": 256, "warmup": 0.0, "keep": 200, "neighbours": 300}


@register("npos")
class NPOS(Queued[NPOSConfig], CIDER[NPOSConfig]):
    """Compact classes, and a network that tells them from outliers at their boundary."""

    Config = NPOSConfig
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "cifar10": {**_SCRATCH},
        "cifar10-published": {**_SCRATCH, "reference_quirks": True, "space": "raw", "sigma": 0.1},
        # Outliers of all classes at every step would cost a third of the step again.
        "cifar100": {
            **_SCRATCH,
            "backbone": "resnet34-cifar",
            "prototype_momentum": 0.5,
            "classes_per_step": 20,
        },
        "imagenet100": {
            **CIDER.presets["imagenet100"],
            "compactness_weight": 0.1 / 0.07,
            "k": 400,
            "boundary": 300,
            "picks": 3,
            "candidates": 1500,
            "classes_per_step": 25,
        },
        "quick": {
            **QUICK,
            "k": 50,
            "boundary": 100,
            "picks": 10,
            "candidates": 200,
            "keep": 10,
            "sigma": 0.02,
            "outlier_weight": 0.03,
        },
    }
    #: The epoch that last emptied the queue, as published.
    epoch: Tensor

    def __init__(self, config: NPOSConfig, classifier: Classifier) -> None:
        super().__init__(config, classifier)
        self.register_buffer("epoch", torch.zeros((), dtype=torch.int64))
        self.synthesizer = config.boundary_synthesizer(config.reference_quirks)

    @classmethod
    def head(cls, config: NPOSConfig, dim: int, classes: int) -> nn.Module:
        head = super().head(config, dim, classes)
        head.ood_head = FeatureOODHead(dim, config.ood_head_hidden)
        return head

    def lr_factor(self, parameter: str) -> float:
        slower = parameter.startswith("classifier.head.ood_head.") and not self.config.reference_quirks
        return self.config.ood_head_lr_factor if slower else 1.0

    def warning(self, means: Mapping[str, float]) -> str:
        inside, outside = means["boundary_distance"], means["kept_distance"]
        if not 0 < inside < _COLLAPSING * outside:
            return super().warning(means)
        return (
            "Features of all classes are collapsing. Features at the boundary have a squared distance of "
            f"{inside:.3f} to their class. Outliers have {outside:.3f}, because of their noise. Scores by "
            "penultimate features will fail. Try a lower --outlier-weight or --sigma, or make outliers later "
            "(--start 0.8)."
        )

    def step(self, batch: Batch) -> dict[str, Tensor]:
        features, projections, labels = self.embed(batch)
        if self.config.reference_quirks:
            assert self.queue is not None
            self.queue.values.masked_fill_(self.epoch != batch.epoch, 0)
            self.epoch.fill_(batch.epoch)
        self.remember(features, batch)
        outliers = self.synthesized(batch)
        with full_precision(projections):
            embedding = self.embedding_loss(projections, labels, batch)
            loss_outlier, accuracy = self.config.ood_loss(
                self.sphere.ood_head, features, outliers.values, batch.view_weights
            )
        return {
            **embedding,
            "loss": embedding["loss"] + self.config.outlier_weight * loss_outlier,
            "loss_outlier": loss_outlier.detach(),
            "outlier_accuracy": accuracy,
            **scalars(outliers),
        }
