"""Disagreement under dropout.

References:
    | Dropout as a Bayesian Approximation: Representing Model Uncertainty in Deep Learning (Gal and Ghahramani, 2016)
    | https://arxiv.org/abs/1506.02142
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..bounds import Count, Part
from ..extraction.blocks import in_blocks
from ..extraction.outputs import Outputs
from ..seeding import generator
from .base import Detector, register
from .common.inputs import linear_head

__all__ = ["Dropout"]


@register("dropout")
class Dropout(Detector):
    """Largest softmax probability, averaged over heads from whose features some are left out.

    Dropout before the head needs no further pass over an image. Which features are left out is the same for all images,
    so that a score is an image's own.

    Arguments:
        rate: Share of the features that is left out, from 0 to below 1; published as .5.
        samples: How many heads to average, at least 1; OpenOOD's 5.
    """

    needs = frozenset({"features", "head"})

    def __init__(self, rate: Part = 0.5, samples: Count = 5) -> None:
        super().__init__()
        self.rate = rate
        self.samples = samples

    def score(self, outputs: Outputs) -> Tensor:
        weight, bias = linear_head(outputs, self.name)
        drawn = (self.samples, weight.shape[1])
        draws = outputs.fixed(("dropout", *drawn), lambda: torch.rand(*drawn, generator=generator(0, "dropout")))
        heads = weight * (draws.to(weight) >= self.rate)[:, None] / (1 - self.rate)

        def score(rows: Tensor) -> Tensor:
            logits = rows.to(weight) @ heads.flatten(0, 1).T
            log_p = (logits.unflatten(1, (self.samples, -1)) + bias).log_softmax(2)
            return math.log(self.samples) - log_p.logsumexp(1).amax(1)

        return in_blocks(score, outputs.features)
