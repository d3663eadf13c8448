"""Whether a classifier is right as often as its confidence says.

References:
    | On Calibration of Modern Neural Networks (Guo et al., 2017)
    | https://arxiv.org/abs/1706.04599
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import OutskirtsError
from .metrics import Array

__all__ = ["Reliability", "reliability"]


@dataclass(frozen=True)
class Reliability:
    """Images in B bins of equal width by the confidence.

    Arguments:
        counts: Number of images in each bin, [B].
        confidence: Mean confidence of each bin, [B]; NaN where it is empty.
        accuracy: Share of images of each bin on which the classifier is right, [B]; NaN where it is empty.
    """

    counts: NDArray[np.intp]
    confidence: Array
    accuracy: Array

    @property
    def error(self) -> float:
        """The expected calibration error (ECE): the mean over images of the gap of their bin, from 0 to 1."""
        gaps = np.abs(self.accuracy - self.confidence)[self.counts > 0]
        return float((self.counts[self.counts > 0] * gaps).sum() / self.counts.sum())

    @property
    def gap(self) -> float:
        """The mean confidence minus the accuracy; positive where the classifier is too sure."""
        some = self.counts > 0
        return float((self.counts[some] * (self.confidence - self.accuracy)[some]).sum() / self.counts.sum())


def reliability(confidences: ArrayLike, right: ArrayLike, bins: int = 15) -> Reliability:
    """Confidence and accuracy in bins ``(0, 1/B], (1/B, 2/B], …``; a confidence of 0 is in the first.

    Arguments:
        confidences: Probability of the predicted class of each image, [N], from 0 to 1.
        right: Whether it is the right one, bool [N].
        bins: Number of bins, at least 1.

    Raises:
        OutskirtsError: If there is no image, or a confidence is none.

    >>> found = reliability([0.9, 0.9, 0.4, 0.2], [True, False, True, False], bins=2)
    >>> found.counts.tolist(), found.accuracy.tolist(), round(found.error, 3), round(found.gap, 3)
    ([2, 2], [0.5, 0.5], 0.3, 0.1)
    """
    given, hits = np.asarray(confidences, float), np.asarray(right, float)
    if given.ndim != 1 or not len(given) or given.shape != hits.shape:
        raise OutskirtsError("Confidences must have shape [N], one per image, as must what says which are right.")
    if not ((given >= 0) & (given <= 1)).all():
        raise OutskirtsError("A confidence is a probability, from 0 to 1.")
    place = (np.ceil(given * bins).astype(int) - 1).clip(0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        confidence, accuracy = (np.bincount(place, values, bins) / counts for values in (given, hits))
    return Reliability(counts, confidence, accuracy)
