"""How sure a classifier is of the class, and of how an image is turned.

References:
    | Using Self-Supervised Learning Can Improve Model Robustness and Uncertainty (Hendrycks et al., 2019)
    | https://arxiv.org/abs/1906.12340
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..devices import full_precision
from ..errors import OutskirtsError
from ..extraction.outputs import Outputs
from ..extraction.probes import HeadProbe
from ..models.heads import turned
from .base import Detector, register

__all__ = ["Rotation", "RotationErrors"]


@dataclass(frozen=True)
class RotationErrors(HeadProbe):
    """A probe: the cross-entropy [B] of a head that tells how images are turned, the mean over the four quarters."""

    cost: ClassVar[str] = "a pass for each of four rotations"
    key: ClassVar[str] = "rotation-errors"

    def given_by(self, head: nn.Module) -> bool:
        return isinstance(getattr(head, "rotation", None), nn.Module)

    def __call__(self, classifier: Any, images: Tensor) -> Tensor:
        if not self.given_by(classifier.head):
            raise OutskirtsError("This classifier has no head for rotations; the method rotpred trains one.")
        with torch.no_grad(), full_precision(images):
            logits = [classifier.head.rotation(classifier.features(each)).float() for each in turned(images)]
        return -sum(one.log_softmax(1)[:, turn] for turn, one in enumerate(logits)) / 4


@register("rotation")
class Rotation(Detector):
    r"""The error in telling how the image is turned, minus :math:`\mathrm{KL}(U \| p)` of the classes, in nats.

    The published score is in bits, with the other sign.
    """

    needs = frozenset({"logits", RotationErrors.key})

    def __init__(self) -> None:
        super().__init__()
        self.probes = (RotationErrors(),)

    def score(self, outputs: Outputs) -> Tensor:
        errors = outputs.need(RotationErrors.key, self.name).double()
        log_p = outputs.need("logits", self.name).double().log_softmax(1)
        return errors + log_p.mean(1) + math.log(log_p.shape[1])
