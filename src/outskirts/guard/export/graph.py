"""A guard as one module: from pixels to verdicts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...extraction.outputs import Outputs
from ...extraction.outputs_of import outputs_of
from ...extraction.probes import StageProbe, gathering
from ...models.stages import find_stages
from ..parts import Parts
from .exportable import require_exportable
from .resizing import Resized
from .thresholds import Thresholds

__all__ = ["INPUT", "GuardGraph"]

#: Name of the input, uint8 [batch, height, width, 3].
INPUT = "pixels"

#: Sides of the images that the graph is made with, so that no axis is taken for another.
_EXAMPLE = (2, 45, 38)


class GuardGraph(nn.Module):
    """Logits, label, score, p-value and verdict of images of one size.

    Arguments:
        parts: Parts of a guard, whose classifier is in evaluation mode and on the CPU.

    Raises:
        OutskirtsError: If the classifier or the detector cannot be in one graph.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        require_exportable(parts)
        self.resized = Resized(parts.classifier.transform)
        self.classifier = parts.classifier
        self.thresholds = Thresholds(parts.calibration)
        self.features = parts.features
        self.probes = [probe for probe in parts.detector.probes if isinstance(probe, StageProbe)]
        # Within a list, so that a graph takes what the detector has learnt for numbers that never change.
        self._detector = [parts.detector.eval()]
        images = self._images(self.example())
        with torch.no_grad():
            self.stages = find_stages(self.classifier.backbone, images) if self.probes else []
            known, _ = self._outputs(images)
            # What it derives from these alone is computed once, here.
            parts.detector.score(known)
        self._known = [known]

    @property
    def outputs(self) -> list[str]:
        """Names of what the graph gives, in order."""
        return [*([] if self.classifier.headless else ["logits", "label"]), "score", "p_value", "accepted"]

    @staticmethod
    def example() -> Tensor:
        """Pixels such as the graph takes."""
        batch, height, width = _EXAMPLE
        return (torch.arange(batch * height * width * 3) % 251).to(torch.uint8).view(batch, height, width, 3)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """What `outputs` names: logits float32 [B, C], label int64 [B], score and p-value float64 [B], and whether an
        image is accepted, bool [B].

        Arguments:
            pixels: RGB, uint8 [B, H, W, 3].
        """
        outputs, logits = self._outputs(self._images(pixels))
        scores = self._detector[0].score(outputs.with_fixed(self._known[0])).double()
        predicted = None if outputs.logits is None else outputs.predicted
        judged = (scores, *self.thresholds(scores, predicted))
        return judged if predicted is None else (logits, predicted, *judged)

    def _images(self, pixels: Tensor) -> Tensor:
        return self.classifier.transform.device(self.resized(pixels))

    def _outputs(self, images: Tensor) -> tuple[Outputs, Tensor]:
        """What the detector sees, and the logits, float32."""
        classifier = self.classifier
        with gathering(classifier, images, self.probes, self.stages) as gathered:
            features = classifier.features(images).float()
        logits = features[:, :0] if classifier.headless else classifier.head(features).float()
        values = {"features": features, "logits": logits}
        return outputs_of(classifier, values, gathered, (), self.features, images.device), logits
