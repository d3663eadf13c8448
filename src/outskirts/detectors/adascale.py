"""Activation scaling that adapts to each image.

References:
    | AdaSCALE: Adaptive Scaling for OOD Detection (Regmi, 2025)
    | https://arxiv.org/abs/2503.08023
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ..bounds import NonNegative, PerCent, PositivePerCent
from ..devices import full_precision
from ..extraction.blocks import in_blocks
from ..extraction.outputs import Outputs
from ..extraction.probes import FeatureProbe
from .base import Detector, choices, register
from .common.inputs import checked, linear_head, require_images
from .common.shaping import logit_scorer

__all__ = ["AdaScale", "ShiftedFeatures", "stability"]

#: Of a grid of both percentiles, of which the lower is at most the higher.
PERCENTILES = (60.0, 65.0, 70.0, 75.0, 80.0, 85.0, 90.0, 95.0, 99.0)


def _count(size: int, per_cent: float) -> int:
    """So many per cent of a number of values, rounded down as in the published code, but at least one."""
    return max(1, int(size * per_cent / 100))


def stability(features: Tensor, shifted: Tensor, share: float, shift_share: float, weight: float) -> Tensor:
    r"""How high the largest activations stay where an image is moved, and how far they shift:
    :math:`\sum_{i \in top} \max(0, f'_i) + \lambda \sum_{i \in top'} |f'_i - f_i|`.

    Arguments:
        features: f, [N, D].
        shifted: f', those of the moved images, [N, D].
        share: Per cent of the largest activations f in the first sum.
        shift_share: Per cent of them in the second.
        weight: λ.

    Returns:
        [N].
    """
    dimension = features.shape[1]
    first, second = (_count(dimension, per_cent) for per_cent in (share, shift_share))
    order = features.sort(dim=1, descending=True, stable=True).indices[:, : max(first, second)]
    after = shifted.gather(1, order)
    shift = (after - features.gather(1, order)).abs()
    return after[:, :first].clamp_min(0).sum(1) + weight * shift[:, :second].sum(1)


@dataclass(frozen=True)
class ShiftedFeatures(FeatureProbe):
    """A probe: the features [B, D] of images whose least salient values are moved along the gradient of the logit
    predicted.

    Arguments:
        share: Per cent of the values of an image, over channels and pixels, that are moved.
        epsilon: Size of the move, in the units of the network's input.
    """

    share: float
    epsilon: float
    cost: ClassVar[str] = "an input gradient and a pass"

    @property
    def key(self) -> str:
        """Names the tensor in the outputs."""
        return f"shifted-{float(self.share)}-e{float(self.epsilon)}"

    def __call__(self, classifier: Any, images: Tensor) -> Tensor:
        with torch.inference_mode(False), full_precision(images):
            moved = images.detach().clone().float().requires_grad_()
            with torch.enable_grad():
                predicted = classifier(moved).amax(1).sum()
                (gradient,) = torch.autograd.grad(predicted, moved)
            gradient = gradient.flatten(1)
            count = _count(gradient.shape[1], self.share)
            least = gradient.abs().sort(dim=1, stable=True).indices[:, :count]
            step = torch.zeros_like(gradient).scatter(1, least, gradient.gather(1, least).sign())
            with torch.no_grad():
                return classifier.features(moved + self.epsilon * step.view_as(moved))


@register("adascale")
class AdaScale(Detector):
    """SCALE with a percentile for each image: the higher, the steadier its activations are where the image is moved.

    As in the published code, s₁ and s₂ are sums of max(0, f), which matters where features can be negative. A share of
    activations or of an image's values is rounded down to a number of them; a percentile is rounded to the nearest.

    Arguments:
        low: Smallest percentile, from 0 to 100; published grid of both 60 to 99.
        high: Largest percentile, from 0 to 100.
        share: Per cent of the largest activations whose height counts, above 0 and at most 100.
        shift_share: Per cent of them whose shift counts, above 0 and at most 100.
        weight: Weight λ of the shift, at least 0.
        moved: Per cent of an image's values that are moved, above 0 and at most 100.
        epsilon: Size of the move, at least 0, in the units of the network's input.
        variant: a scales the features, by exp(s₁ / s₂) as SCALE does; l the logits, by (s₁ / s₂)².
        scorer: The detector that scores the logits; the free energy, as published.
    """

    needs = frozenset({"features", "head"})
    fit_on = "val"
    fits_probes = True
    grid = choices(low=PERCENTILES, high=PERCENTILES)
    known: Tensor | None

    def __init__(
        self,
        low: PerCent = 75.0,
        high: PerCent = 85.0,
        share: PositivePerCent = 5.0,
        shift_share: PositivePerCent = 1.0,
        weight: NonNegative = 10.0,
        moved: PositivePerCent = 5.0,
        epsilon: NonNegative = 0.5,
        variant: Literal["a", "l"] = "a",
        scorer: str = "energy",
    ) -> None:
        super().__init__()
        self.low = checked(self.name, "low", low, most=high)
        self.high = high
        self.share = share
        self.shift_share = shift_share
        self.weight = weight
        self.moved = moved
        self.epsilon = epsilon
        self.variant, self.scorer = variant, scorer
        self._scorer = logit_scorer(scorer, self.name)
        self.probes = (ShiftedFeatures(moved, epsilon),)
        self.register_buffer("known", None)

    @property
    def level_matters(self) -> str | None:
        """What the scorer says; and the variant l multiplies logits."""
        multiplied = "each image's logits are multiplied by a factor of its own" if self.variant == "l" else None
        return self._scorer.level_matters or multiplied

    def fit(self, outputs: Outputs) -> AdaScale:
        require_images(outputs, self.name)
        self.known = self._stability(outputs).sort().values
        return self

    def percentiles(self, outputs: Outputs) -> Tensor:
        """The percentile of each image, [N]."""
        known = self.require("known")
        rank = torch.searchsorted(known, self._stability(outputs), right=True) / len(known)
        return self.low + (1 - rank.double()) * (self.high - self.low)

    def score(self, outputs: Outputs) -> Tensor:
        head = linear_head(outputs, self.name)

        def logits(rows: Tensor, percentile: Tensor) -> Tensor:
            features = rows.to(head.weight)
            dimension = features.shape[1]
            kept = (dimension - (dimension * percentile / 100).round().long()).clamp_min(1)
            sums = features.clamp_min(0).sort(dim=1, descending=True).values.cumsum(1)
            top = sums.gather(1, kept[:, None] - 1)
            ratio = torch.where(top > 0, sums[:, -1:] / top, 0.0)
            if self.variant == "a":
                return torch.addmm(head.bias, features * ratio.exp(), head.weight.T)
            return torch.addmm(head.bias, features, head.weight.T) * ratio.square()

        scaled = in_blocks(logits, outputs.features, self.percentiles(outputs))
        return self._scorer.score(Outputs(outputs.features, scaled))

    def _stability(self, outputs: Outputs) -> Tensor:
        def stability_of(rows: Tensor, shifted: Tensor) -> Tensor:
            return stability(rows.double(), shifted.double(), self.share, self.shift_share, self.weight)

        return in_blocks(stability_of, outputs.features, outputs.need(self.probes[0].key, self.name))
