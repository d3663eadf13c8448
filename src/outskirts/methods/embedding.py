"""What methods that train an embedding on the hypersphere share: views, projection, prototypes and their geometry."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from .. import grouped
from ..bounds import Count, Positive, Share
from ..data.loading.batches import Batch
from ..devices import full_precision
from ..errors import OutskirtsError
from ..models.classifier import Classifier
from ..models.heads import PrototypeHead, projector
from .base import Config, Method
from .hypersphere import angles

__all__ = ["SCRATCH", "Embedding", "EmbeddingConfig"]


@dataclass(frozen=True)
class EmbeddingConfig(Config):
    """An embedding on the hypersphere."""

    projection: Literal["mlp", "linear", "none"] = "mlp"
    """Projection of features to the hypersphere: mlp with one hidden layer as wide as the features, linear, or none."""
    embedding: Count = 128
    """Dimension of the projected features, at least 1; without a projection, that of the features."""
    temperature: Positive = 0.1
    """Temperature τ that divides the cosines, above 0."""
    views: Count = 2
    """Number of views of each image, at least 1, augmented differently; the cost of a step grows with it."""
    prototype_momentum: Share = 0.95
    """Momentum of the prototypes, from 0 to 1: the share of a prototype that stays when one sample moves it."""
    neighbours: Count = 50
    """The neighbour whose distance is the score of the detector knn, at least 1."""
    feature_space: Literal["features", "projection"] = "features"
    """Features that the detector knn scores: penultimate features, as published (features), or projected ones
    (projection)."""


#: How the published scripts train on CIFAR images, for 500 epochs.
SCRATCH: Mapping[str, Any] = {
    "backbone": "resnet18-cifar",
    "epochs": 500,
    "batch_size": 512,
    "optimizer": "sgd",
    "lr": 0.5,
    "weight_decay": 1e-4,
    "schedule": "epoch-cosine",
    "warmup": 0.02,
    "augment": "resized-crop:0.2:1,flip,jitter:0.4:0.4:0.4:0.1,grey",
}


C = TypeVar("C", bound=EmbeddingConfig)


class Embedding(Method[C], ABC, Generic[C]):
    """A method whose classifier has a `PrototypeHead`."""

    def __init__(self, config: C, classifier: Classifier) -> None:
        super().__init__(config, classifier)
        if len(classifier.classes) < 2:
            raise OutskirtsError(
                f"The method '{self.name}' needs at least 2 classes, to keep them apart; the training images "
                f"have {len(classifier.classes)}."
            )

    @classmethod
    def head(cls, config: C, dim: int, classes: int) -> nn.Module:
        size = dim if config.projection == "none" else config.embedding
        projection = projector(config.projection, dim, size)
        learned = getattr(config, "prototypes", "") == "learned"
        return PrototypeHead(projection, classes, size, config.temperature, learned)

    @classmethod
    def detectors(cls, config: C) -> Sequence[Mapping[str, Any]]:
        return (
            {"name": "knn", "k": config.neighbours, "space": config.feature_space},
            {"name": "mahalanobis", "normalize": True},
        )

    @property
    def views(self) -> int:
        return self.config.views

    @property
    def sphere(self) -> PrototypeHead:
        """The classifier's head."""
        assert isinstance(self.classifier.head, PrototypeHead)
        return self.classifier.head

    def prepare(self, images: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Put each prototype at the mean projection of its class."""
        sums = torch.zeros_like(self.sphere.prototypes)
        for block, labels in images:
            projections = self.sphere.project(self.classifier.features(block)).to(sums)
            sums += grouped.sums(projections, labels, len(sums))
        self.sphere.prototypes.data.copy_(normalize(sums, dim=1))

    def embed(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Features [V·B, D], unit vectors [V·B, d] and labels [V·B] of all views, the first view's rows first."""
        features = self.classifier.features(torch.cat(batch.views))
        return features, self.sphere.project(features), batch.labels.repeat(len(batch.views))

    def geometry(self, projections: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """How the batch and the prototypes lie, for the record."""
        # In half precision, angles would be off by whole degrees.
        with full_precision(projections):
            return angles(projections.detach(), normalize(self.sphere.prototypes.detach(), dim=1), labels)
