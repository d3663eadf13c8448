"""A threshold for each class.

References:
    | A Gentle Introduction to Conformal Prediction and Distribution-Free Uncertainty Quantification
      (Angelopoulos and Bates, 2021): calibration within each class
    | https://arxiv.org/abs/2107.07511
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor

from ..bounds import Bound, Count
from ..extraction.outputs import Outputs
from .base import Detector, create, register
from .common.members import fit_members

__all__ = ["PerClass"]


@register("per_class")
class PerClass(Detector):
    """Another detector's score, from the threshold of the class predicted, and in terms of how far that is from the
    class's median.

    At 0, every class rejects the same share of its own validation images, where one threshold for all would reject most
    of the classes that are hard. A class that is hardly ever predicted has the threshold of all.

    The threshold is the score of rank ⌈accepted · (n + 1)⌉ among n validation images: a new image of the class is
    accepted with at least the probability `accepted`, whatever n is. Where the rank is above n, no threshold of
    validation images can promise that: it is their largest score, which accepts all of them.

    Arguments:
        detector: Name of a detector, or a text such as ``knn:k=10``.
        accepted: Share of in-distribution images below the threshold, above 0.5 and at most 1.
        least: Least number of validation images predicted as a class for a threshold of its own, at least 1.
    """

    fit_on = "train"
    calibrates = True
    thresholds: Tensor | None
    spreads: Tensor | None

    def __init__(
        self, detector: str = "energy", accepted: Annotated[float, Bound(above=0.5, most=1)] = 0.95, least: Count = 20
    ) -> None:
        super().__init__()
        self.detector = detector
        self.member = create(detector)
        self.accepted = accepted
        self.least = least
        self.needs, self.probes = self.member.needs | {"logits"}, self.member.probes
        self.register_buffer("thresholds", None)
        self.register_buffer("spreads", None)

    @property
    def fits_probes(self) -> bool:  # type: ignore[override]
        """Whether the score needs them: it is calibrated."""
        return bool(self.probes)

    @property
    def level_matters(self) -> str | None:
        """What the other detector says."""
        return self.member.level_matters

    @property
    def lacks(self) -> str | None:
        """What the other detector lacks."""
        return self.member.lacks

    def fit(self, outputs: Outputs, val: Outputs | None = None) -> PerClass:
        """Fit the detector and find the thresholds.

        Arguments:
            outputs: Outputs of the training images.
            val: Outputs of the validation images. Without them, training images have to do, which some detectors
                remember.
        """
        val = fit_members([self.member], outputs, val, self.name)
        scores, predicted = self.member.score(val).double(), val.need("logits", self.name).argmax(1)
        marks = self._marks(scores).repeat(val.classes, 1)
        for label in predicted.bincount(minlength=val.classes).ge(self.least).nonzero().flatten():
            marks[label] = self._marks(scores[predicted == label])
        self.thresholds, self.spreads = marks[:, 1], (marks[:, 1] - marks[:, 0]).clamp_min(1e-12)
        return self

    def _marks(self, scores: Tensor) -> Tensor:
        """The median and the threshold of scores [n], [2]."""
        rank = min(len(scores), math.ceil(self.accepted * (len(scores) + 1)))
        return torch.stack([scores.quantile(0.5), scores.kthvalue(rank).values])

    def score(self, outputs: Outputs) -> Tensor:
        predicted = outputs.need("logits", self.name).argmax(1)
        thresholds, spreads = self.require("thresholds"), self.require("spreads")
        return (self.member.score(outputs).to(thresholds) - thresholds[predicted]) / spreads[predicted]
