"""Rectified activations.

References:
    | ReAct: Out-of-distribution Detection With Rectified Activations (Sun, Guo and Li, 2021)
    | https://arxiv.org/abs/2111.12797
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..bounds import PositivePerCent
from ..extraction.blocks import blocks
from ..extraction.outputs import Outputs
from .base import choices, register
from .common.inputs import training_rows
from .common.shaping import ShapingDetector

__all__ = ["ReAct", "cutoff", "percentile_of"]


#: Numbers that are looked through at once for one of a given rank; more are first narrowed down by counting.
LARGEST = 2**24
_BINS = 2**12


def percentile_of(values: Tensor, percentile: float) -> Tensor:
    """A percentile of all entries, interpolated between neighbours as NumPy does, without a sort or a copy.

    Arguments:
        values: At least one entry, [N, D]; N · D may be any number, where `torch.quantile` stops at 16 million.
        percentile: Percentile to find, in [0, 100].

    Returns:
        A float64 scalar.
    """
    rank = percentile / 100 * (values.numel() - 1)
    below, above = (_ranked(values, k) for k in (math.floor(rank), math.ceil(rank)))
    return below + (above - below) * (rank % 1)


def _ranked(values: Tensor, rank: int) -> Tensor:
    """The entry that has `rank` others before it in ascending order, float64."""
    low, high, count = values.amin(), values.amax(), values.numel()
    while count > LARGEST and low < high:
        # Bins of equal width between them, of which one holds the entry; those it begins and ends with bound it.
        counts = torch.zeros(_BINS, dtype=torch.int64, device=values.device)
        least, most = high.repeat(_BINS), low.repeat(_BINS)
        for (rows,) in blocks(values):
            inside = rows[(rows >= low) & (rows <= high)]
            bins = ((inside.double() - low) / (high.double() - low) * (_BINS - 1)).long()
            counts += bins.bincount(minlength=_BINS)
            least.scatter_reduce_(0, bins, inside, "amin")
            most.scatter_reduce_(0, bins, inside, "amax")
        chosen = int((counts.cumsum(0) <= rank).sum())
        rank -= int(counts[:chosen].sum())
        low, high, count = least[chosen], most[chosen], int(counts[chosen])
    if low == high:
        return low.double()
    inside = torch.cat([rows[(rows >= low) & (rows <= high)] for (rows,) in blocks(values)])
    return inside.kthvalue(rank + 1).values.double()


def cutoff(outputs: Outputs, percentile: float, who: str) -> Tensor:
    """A percentile of all activations that a detector is fitted to, a float64 scalar."""
    return outputs.cached(("percentile", percentile), lambda: percentile_of(training_rows(outputs, who), percentile))


@register("react")
class ReAct(ShapingDetector):
    """The score of features that are cut off at a percentile of all training activations.

    The percentile is over training images, as in the paper; OpenOOD takes validation images.

    Arguments:
        percentile: Where to cut, above 0 and at most 100; published grid 85, 90, 95, 99.
        scorer: The detector that scores the logits; the free energy, as published.
    """

    fit_on = "train"
    grid = choices(percentile=(85.0, 90.0, 95.0, 99.0))
    threshold: Tensor | None

    def __init__(self, percentile: PositivePerCent = 90.0, scorer: str = "energy") -> None:
        super().__init__(scorer)
        self.percentile = percentile
        self.register_buffer("threshold", None)

    def fit(self, outputs: Outputs) -> ReAct:
        self.threshold = cutoff(outputs, self.percentile, self.name)
        return self

    def shape(self, features: Tensor) -> Tensor:
        return features.clamp_max(self.require("threshold"))
