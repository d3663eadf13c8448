"""What methods share whose outliers are made of the latest features of each class."""

from __future__ import annotations

from abc import ABC
from dataclasses import replace
from typing import Generic, TypeVar

from torch import Tensor

from ..data.loading.batches import Batch
from ..distributed import gather
from ..models.classifier import Classifier
from ..synthesis.boundary import BoundarySynthesizer
from ..synthesis.outliers import FeatureSynthesizer, Outliers
from ..synthesis.queue import ClassQueue
from .base import Method
from .options import QueueOptions

__all__ = ["Queued", "queued_outliers"]

Q = TypeVar("Q", bound=QueueOptions)


def queued_outliers(
    options: QueueOptions, synthesizer: FeatureSynthesizer, queue: ClassQueue, batch: Batch
) -> Outliers:
    """Outliers of a queue's features, [M, D]; none before the start.

    Those about boundary points on the unit sphere get the length of the feature each was made of.

    Arguments:
        options: Say when to start.
        synthesizer: Makes the outliers.
        queue: Holds the features.
        batch: Batch of the step; its generator draws the outliers.
    """
    # Before the start no class counts as ready.
    outliers = synthesizer(queue.values, queue.filled * options.started(batch), batch.generator)
    if not isinstance(synthesizer, BoundarySynthesizer) or synthesizer.space == "raw":
        return outliers
    lengths = queue.values[outliers.labels, outliers.info["boundary"]].norm(dim=1, keepdim=True)
    return replace(outliers, values=outliers.values * lengths)


class Queued(Method[Q], ABC, Generic[Q]):
    """A method that remembers the latest features of each class and makes outliers of them.

    Its own constructor sets `synthesizer`, unless it makes outliers otherwise. A checkpoint holds both attributes by
    their names.
    """

    #: The features; None in a method that can do without, and whose options say so.
    queue: ClassQueue | None
    synthesizer: FeatureSynthesizer

    def __init__(self, config: Q, classifier: Classifier) -> None:
        super().__init__(config, classifier)
        wanted = self.needs_queue
        self.queue = ClassQueue(len(classifier.classes), config.queue, classifier.dim) if wanted else None

    @property
    def needs_queue(self) -> bool:
        """Whether the options ask for outliers made of features."""
        return True

    @property
    def queue_size(self) -> int:
        return 0 if self.queue is None else self.config.queue

    def fill_queue(self, features: Tensor, labels: Tensor) -> None:
        if self.queue is not None:
            self.queue.push(features, labels)

    def outliers(self, batch: Batch) -> Outliers | None:
        outliers = self.synthesized(batch)
        return outliers if len(outliers) else None

    def synthesized(self, batch: Batch) -> Outliers:
        """The outliers of a step, of the features in the queue; none, with zero rows, before the start."""
        assert self.queue is not None
        return queued_outliers(self.config, self.synthesizer, self.queue, batch)

    def remember(self, features: Tensor, batch: Batch) -> None:
        """Take in the features [V·B, D] of a step's images, and those of all other processes."""
        assert self.queue is not None
        self.queue.push(gather(features.detach()), batch.every_label)
