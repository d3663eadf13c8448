"""Which synthetic images are good enough, by a classifier trained on real ones, and what it makes of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..data.imageset import ImageSet
from ..errors import OutskirtsError
from ..extraction.extract import extract
from ..extraction.outputs import Outputs
from ..models.classifier import Classifier
from ..neighbours.exact import kth_distance
from .fidelity import frechet, kernel_distance

__all__ = ["Judge", "Rules"]

#: The cosine of features above which images are taken for copies.
_COPY = 0.95


@dataclass(frozen=True)
class Rules:
    """Rules that an image must pass to be kept. Without a rule, all images are kept."""

    agreement: bool = False
    """Keep an image only if the classifier predicts the class that it was made for."""
    confidence: float = 0.0
    """Keep an image only if the classifier's confidence in its class reaches this quantile of the confidences on
    training images, from 0 to 1; 0 keeps all."""
    distinct: float | None = None
    """Largest cosine similarity, above 0 and at most 1, between an image's feature and the nearest training feature;
    images above it are dropped as copies. Default: none are dropped."""

    def __post_init__(self) -> None:
        for name in ("confidence", "distinct"):
            if (given := getattr(self, name)) is not None and not 0 <= given <= 1:
                raise OutskirtsError(f"{name} must be from 0 to 1, not {given}.")

    @property
    def any(self) -> bool:
        """Whether anything is asked."""
        return self.agreement or self.confidence > 0 or bool(self.distinct)


class Judge:
    """A classifier and what it says of the training images.

    Arguments:
        classifier: A classifier trained on real images.
        train: Training images that the generator learned from.
        store: A folder for what the classifier says of them.
    """

    def __init__(self, classifier: Classifier, train: ImageSet, store: Any = None) -> None:
        self.classifier = classifier
        self.train = extract(classifier, train, features="raw", store=store)
        self.bank = normalize(self.train.features, dim=1)

    def keep(self, images: ImageSet, rules: Rules) -> dict[str, Tensor]:
        """For every rule asked for, which images [N] pass it."""
        if not rules.any:
            return {}
        outputs = extract(self.classifier, images, features="raw")
        passed = {}
        if rules.agreement:
            passed["agreement"] = outputs.predicted == images.labels
        if rules.confidence:
            least = _confidence(self.train).quantile(rules.confidence)
            passed["confidence"] = _confidence(outputs) >= least
        if rules.distinct:
            passed["distinct"] = self._nearest(outputs) <= rules.distinct
        return passed

    def sureness(self, images: ImageSet) -> Tensor:
        """How sure the classifier is of what it takes images for, [N], from 0 to 1."""
        return _probabilities(extract(self.classifier, images, features="raw")).amax(1)

    def quality(self, images: ImageSet, most: int = 5000) -> Mapping[str, Any]:
        """How like the training images these are.

        Arguments:
            images: Labelled, of the classifier's classes.
            most: At most so many are looked at, the first ones, beside as many training images.

        Returns:
            ``agreement``, the share whose label the classifier agrees with; ``frechet`` and ``kernel``, the distances
            of `outskirts.generation.fidelity` on this classifier's features, and as ``per_class`` within each;
            ``nearest``, the 5th, 50th and 95th percentile of the cosine to the nearest training image, and ``copies``,
            the share above 0.95. Of training images among themselves, ``agreement_training`` and ``copies_training``:
            a classifier that draws a class together makes copies of all its images.
        """
        images = images.limit(most)
        outputs, labels = extract(self.classifier, images, features="raw"), images.labels
        order = torch.randperm(len(self.train), generator=torch.Generator().manual_seed(0))
        real, real_labels = self.train.features[order], self._labels[order]
        nearest = self._nearest(outputs)
        return {
            "images": len(images),
            "agreement": float((outputs.predicted == labels).float().mean()),
            "agreement_training": float((self.train.predicted == self._labels).float().mean()),
            **_distances(real[: len(images)], outputs.features),
            "per_class": {
                name: _distances(real[real_labels == c][:size], outputs.features[labels == c])
                for c, name in enumerate(self.classifier.classes)
                if (size := int((labels == c).sum())) > 1 and int((real_labels == c).sum()) > 1
            },
            "nearest": nearest.quantile(torch.tensor([0.05, 0.5, 0.95])).tolist(),
            "copies": float((nearest > _COPY).float().mean()),
            # The nearest of all is the image itself.
            "copies_training": float((_cosine(self.bank[order][:most], self.bank, 2) > _COPY).float().mean()),
        }

    @property
    def _labels(self) -> Tensor:
        assert self.train.labels is not None
        return self.train.labels

    def _nearest(self, outputs: Outputs) -> Tensor:
        """The cosine to the nearest training image."""
        return _cosine(normalize(outputs.features, dim=1), self.bank, 1)


def _cosine(rows: Tensor, bank: Tensor, k: int) -> Tensor:
    """The cosine of each row with its k-th nearest in the bank, both of unit length."""
    return 1 - kth_distance(rows, bank, min(k, len(bank))) / 2


def _confidence(outputs: Outputs) -> Tensor:
    assert outputs.labels is not None
    return _probabilities(outputs).gather(1, outputs.labels[:, None])[:, 0]


def _probabilities(outputs: Outputs) -> Tensor:
    assert outputs.logits is not None
    return outputs.logits.softmax(1)


def _distances(real: Tensor, made: Tensor) -> dict[str, float]:
    return {"frechet": frechet(real, made), "kernel": kernel_distance(real, made)}
