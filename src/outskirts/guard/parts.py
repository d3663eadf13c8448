"""What a guard is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..arguments import check_arguments
from ..data.keyset import KeySet
from ..detectors import Detector
from ..files import digest
from ..models.classifier import Classifier
from ..models.heads import Space
from .calibration import Calibration

__all__ = ["Parts"]


@check_arguments
@dataclass(frozen=True)
class Parts:
    """A classifier, a fitted detector and a calibration.

    Arguments:
        classifier: Classifier, in evaluation mode.
        detector: Fitted detector.
        calibration: Calibration scores, which give thresholds and p-values.
        features: Features that the detector sees: ``head``, ``raw`` or ``projection``.
        precision: Precision of the network.
        about: What a reader should know: images, the choice of the detector, what was measured; for a JSON file.
        seen: Keys of the images that it was made of, by what they are.
    """

    classifier: Classifier
    detector: Detector
    calibration: Calibration
    features: Space = "head"
    precision: Literal["fp32", "bf16"] = "fp32"
    about: Mapping[str, Any] = field(default_factory=dict)
    seen: Mapping[str, KeySet] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """A hash of all that verdicts depend on."""
        parts = [self.classifier.fingerprint(), self.detector.name, repr(self.detector.params), self.features]
        state = {**self.detector.state_dict(), **self.calibration.tensors()}
        parts += [self.precision, repr(self.classifier.transform), repr(self.classifier.classes)]
        parts.append(repr(self.calibration.promises))
        return digest(*parts, *(part for key in sorted(state) for part in (key, state[key])))
