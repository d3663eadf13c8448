r"""CIDER: a hypersphere on which classes are compact and far from each other.

Features are projected to unit vectors, which are drawn to the prototype of their class while prototypes are pushed
apart:

.. math:: L = \lambda_c L_\mathrm{comp} + \lambda_d L_\mathrm{dis}

Prototypes are no parameters but moving averages of the projections, inside the graph: the dispersion trains the
network through the latest samples of each class, whereas the compactness takes the moved prototypes as constants.
Logits are the cosines to the prototypes over the temperature. The published score is the distance to the k-th nearest
training image in the penultimate features, before the projection.

Where the published code and the paper differ, or the code has a defect:

* The code multiplies the compactness by τ / 0.07; the presets have that factor in ``compactness_weight``.
* Its warm-up counts epochs from 1 where they count from 0, so that all but one step of the first epoch climb the loss,
  which collapses the prototypes. ``schedule="epoch-cosine"`` is the correct form; with ``reference_quirks`` it is as
  published.
* Prototypes begin at the class means of the un-augmented training images; early versions, those of the released
  weights among them, took the test images.
* The released weights were trained with a prototype momentum of 0.99 (CIFAR-10) and 0.5 (CIFAR-100).
* Frozen layers keep their batch statistics here (``frozen_batchnorm``); in the code they drift.
* ``prototypes="mean"`` moves each prototype once a step by its class mean: independent of the order of the batch and
  of its division over processes. ``learned`` is the variant that the code has commented out.

References:
    | How to Exploit Hyperspherical Embeddings for Out-of-Distribution Detection? (Ming et al., 2023)
    | https://arxiv.org/abs/2203.04450
    | https://github.com/deeplearning-wisc/cider
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..bounds import NonNegative, Share
from ..data.loading.batches import Batch
from ..devices import full_precision
from ..distributed import gather
from ..models.classifier import Classifier
from .base import register
from .embedding import SCRATCH, Embedding, EmbeddingConfig
from .hypersphere import compactness, dispersion, mean_update, ordered_update, simplex

__all__ = ["CIDER", "QUICK", "CIDERConfig"]

#: Prototypes have collapsed where the dispersion is above this share of its maximum, or two of them are closer than
#: so many degrees, for as many steps.
_COLLAPSED, _CLOSE, _PATIENCE = 0.9, 5.0, 200


@dataclass(frozen=True)
class CIDERConfig(EmbeddingConfig):
    """CIDER."""

    prototypes: Literal["ordered", "mean", "learned"] = "ordered"
    """How prototypes move: sample by sample, as published (ordered), by class means of the batch (mean), or as weights
    (learned)."""
    prototype_init: Literal["means", "simplex"] = "means"
    """Where prototypes start: at the class means of the training images (means), or as far apart as possible
    (simplex)."""
    prototype_freeze: Share = 0.0
    """Share of the epochs, from 0 to 1, in which prototypes do not move yet."""
    compactness_weight: NonNegative = 2 * 0.1 / 0.07
    """Weight of the compactness loss, at least 0, which pulls images to the prototype of their class; published as 2,
    times 0.1 / 0.07 in the code."""
    dispersion_weight: NonNegative = 1.0
    """Weight of the dispersion loss, at least 0, which pushes prototypes apart; 0 disables it."""
    reference_quirks: bool = False
    """With the epoch-cosine schedule, warm up as the published code does: the learning rate starts below zero."""


#: For few epochs of the fast backbone. Moving prototypes are noisy there and cost accuracy and detection; learned ones
#: that begin far apart do not, and the nearest neighbour tells more than a farther one. Chosen on classes held out of
#: CIFAR-10's training images, at equal cost.
QUICK: Mapping[str, Any] = {
    "views": 1,
    "prototypes": "learned",
    "prototype_init": "simplex",
    "compactness_weight": 1.0,
    "dispersion_weight": 0.35,
    "neighbours": 1,
}

C = TypeVar("C", bound=CIDERConfig)


@register("cider")
class CIDER(Embedding[C], Generic[C]):
    """Compact classes around prototypes that repel each other."""

    Config: ClassVar[type[CIDERConfig]] = CIDERConfig
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "cifar10": {**SCRATCH, "neighbours": 100},
        "cifar100": {
            **SCRATCH,
            "backbone": "resnet34-cifar",
            "prototype_momentum": 0.5,
            "compactness_weight": 0.1 / 0.07,
            "neighbours": 300,
        },
        "imagenet100": {
            **SCRATCH,
            "backbone": "torchvision:resnet34",
            "pretrained": "true",
            "size": 224,
            "train_layers": "layer4",
            "frozen_batchnorm": "fixed",
            "epochs": 20,
            "lr": 0.005,
            "warmup": 0.5,
            "augment": "resized-crop:0.4:1,flip,jitter:0.4:0.4:0.4:0.1,grey",
            "neighbours": 300,
        },
        "quick": QUICK,
    }
    collapsed: Tensor

    def __init__(self, config: C, classifier: Classifier) -> None:
        super().__init__(config, classifier)
        self.register_buffer("collapsed", torch.zeros((), dtype=torch.int64))

    @property
    def published_warmup(self) -> bool:
        return self.config.reference_quirks

    @property
    def has_unused_parameters(self) -> bool:
        held = self.config.prototypes == "learned" and self.config.prototype_freeze > 0
        return held or super().has_unused_parameters

    def step(self, batch: Batch) -> dict[str, Tensor]:
        _, projections, labels = self.embed(batch)
        # In half precision, cosines over a small temperature would be too coarse.
        with full_precision(projections):
            return self.embedding_loss(projections, labels, batch)

    def prepare(self, images: Iterable[tuple[Tensor, Tensor]]) -> None:
        if self.config.prototype_init == "simplex":
            self.sphere.prototypes.data.copy_(simplex(self.sphere.prototypes))
        else:
            super().prepare(images)

    def embedding_loss(self, projections: Tensor, labels: Tensor, batch: Batch) -> dict[str, Tensor]:
        """The loss and its parts, given unit vectors [B, d]; moves the prototypes."""
        held = batch.epoch <= self.config.prototype_freeze * batch.epochs
        prototypes = self.sphere.prototypes.detach() if held else self.moved(projections, batch)
        attracting = prototypes if self.config.prototypes == "learned" else prototypes.detach()
        compact = compactness(projections, attracting, labels, self.config.temperature, batch.view_weights)
        disperse = dispersion(prototypes, self.config.temperature)
        geometry = self.geometry(projections, labels)
        collapsed = (disperse > _COLLAPSED / self.config.temperature) | (geometry["angle_nearest"] < _CLOSE)
        self.collapsed = torch.where(collapsed, self.collapsed + 1, 0)
        return {
            "loss": self.config.compactness_weight * compact + self.config.dispersion_weight * disperse,
            "loss_compactness": compact.detach(),
            "loss_dispersion": disperse.detach(),
            "collapsed_steps": self.collapsed.float(),
            **geometry,
        }

    def moved(self, projections: Tensor, batch: Batch) -> Tensor:
        """The prototypes after this batch, with their gradient's path; the head goes on without it."""
        if self.config.prototypes == "learned":
            return normalize(self.sphere.prototypes, dim=1)
        update = ordered_update if self.config.prototypes == "ordered" else mean_update
        momentum = self.config.prototype_momentum
        prototypes = update(self.sphere.prototypes, gather(projections), batch.every_label, momentum)
        self.sphere.prototypes.copy_(prototypes.detach())
        return prototypes

    def warning(self, means: Mapping[str, float]) -> str:
        if means["collapsed_steps"] < _PATIENCE:
            return ""
        return (
            f"Prototypes have collapsed: for {means['collapsed_steps']:.0f} steps some have been almost "
            f"equal. The nearest two are {means['angle_nearest']:.0f} degrees apart, and all on average "
            f"{means['angle_between']:.0f}. Their classes cannot be told apart. Begin with prototypes as far "
            "apart as possible (--prototype-init simplex --prototype-freeze 0.3), start from a trained run "
            "(--init RUN), or try a longer --warmup or a lower --lr."
        )
