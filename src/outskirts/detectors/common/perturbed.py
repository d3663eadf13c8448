"""Logits of the input moved a little towards the predicted class: what ODIN and i-ODIN look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...bounds import NonNegative, Positive
from ...devices import full_precision
from ...errors import OutskirtsError
from ...extraction.outputs import Outputs
from ..base import Detector
from ..msp import msp

__all__ = ["PerturbedDetector", "PerturbedLogits", "first_largest"]


def first_largest(values: Tensor) -> Tensor:
    """The index of the largest entry of each row, the first of equal ones, which `argmax` does not promise.

    Arguments:
        values: [B, K].

    Returns:
        [B, 1].
    """
    last = values.shape[1] - 1
    places = torch.arange(last + 1, device=values.device)
    return places.where(values == values.amax(1, keepdim=True), last).amin(1, keepdim=True)


@dataclass(frozen=True)
class PerturbedLogits:
    """A probe: the logits [B, C] of images moved against the gradient of the predicted class's cross-entropy.

    Arguments:
        temperature: Divides the logits in the cross-entropy.
        epsilon: Size of the step in units of the raw pixel range [0, 1].
        sparse: Whether to move only the one value of each image, over channels and pixels, with the largest
            gradient.
    """

    temperature: float
    epsilon: float
    sparse: bool
    cost: ClassVar[str] = "an input gradient and a pass"

    @property
    def key(self) -> str:
        """Names the tensor in the outputs."""
        kind = "sparse" if self.sparse else "dense"
        return f"perturbed-{kind}-t{float(self.temperature)}-e{float(self.epsilon)}"

    def __call__(self, classifier: Any, images: Tensor) -> Tensor:
        if classifier.training:
            raise OutskirtsError("The classifier is in training mode: call classifier.eval() before a probe.")
        with torch.inference_mode(False), full_precision(images):
            moved = images.detach().clone().float()  # A clone made here is no inference tensor.
            step = self.step(classifier, moved)
            std = step.new_tensor(classifier.transform.std).view(-1, 1, 1)
            with torch.no_grad():
                return classifier(moved - self.epsilon * step / std)

    def step(self, classifier: Any, images: Tensor) -> Tensor:
        """The direction of the step, 1 or -1 where an image is moved and 0 elsewhere, [B, ...]."""
        with torch.enable_grad():
            images = images.requires_grad_()
            loss = msp(classifier(images) / self.temperature).sum()
            (gradient,) = torch.autograd.grad(loss, images)
        images.requires_grad_(False)
        sign = torch.where(gradient >= 0, 1.0, -1.0)
        if not self.sparse:
            return sign
        where = first_largest(gradient.abs().flatten(1))
        return torch.zeros_like(sign).flatten(1).scatter(1, where, sign.flatten(1).gather(1, where)).view_as(sign)


class PerturbedDetector(Detector):
    """Maximum softmax probability of the perturbed logits; subclasses say whether the perturbation is sparse.

    Arguments:
        temperature: Divides the logits, in the gradient and in the score.
        epsilon: Size of the step in units of the raw pixel range [0, 1].
    """

    needs = frozenset()
    sparse: ClassVar[bool]

    def __init__(self, temperature: Positive = 1000.0, epsilon: NonNegative = 0.0014) -> None:
        super().__init__()
        self.temperature = temperature
        self.epsilon = epsilon
        self.probes = (PerturbedLogits(temperature, epsilon, self.sparse),)

    def score(self, outputs: Outputs) -> Tensor:
        (probe,) = self.probes
        return msp(outputs.need(probe.key, self.name).double() / self.temperature)
