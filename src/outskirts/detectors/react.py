"""Rectified activations.

References:
    | ReAct: Out-of-distribution Detection With Rectified Activations (Sun, Guo and Li, 2021)
    | https://arxiv.org/abs/2111.12797
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..bounds import PositivePerCent
from ..data.transform import HALF
from ..extraction.blocks import blocks
from ..extraction.outputs import Outputs
from .base import choices, register
from .common.inputs import training_rows
from .common.shaping import ShapingDetector

__all__ = ["ReAct", "cutoff", "percentile_of"]


#: Numbers that are looked through at once for one of a given rank; more are first narrowed down by counting.
LARGEST = 2**25
_BINS = 2**12


def percentile_of(values: Tensor, percentile: float) -> Tensor:
    """A percentile of all entries, interpolated between neighbours as NumPy does, without a sort or a copy of many.

    Arguments:
        values: At least one entry, [N, D]; N · D may be any number, where `torch.quantile` stops at 16 million.
        percentile: Percentile to find, in [0, 100].

    Returns:
        A float64 scalar.
    """
    rank = percentile / 100 * (values.numel() - 1)
    below, above = _ranked(values, math.floor(rank))
    return below + (above - below) * (rank % 1)


def _ranked(values: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The entry that has `rank` others before it in ascending order, and the next, or itself if it is the last."""
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
        found = low.double().expand(2)
    elif count == values.numel():
        found = _selected(values.flatten(), rank)
    else:
        found = _selected(torch.cat([rows[(rows >= low) & (rows <= high)] for (rows,) in blocks(values)]), rank)
    if rank + 1 < count:
        return found[0], found[1]
    beyond = torch.stack([rows.where(rows > high, torch.inf).amin() for (rows,) in blocks(values)]).amin().double()
    return found[0], beyond if beyond < torch.inf else found[0]


def _selected(values: Tensor, rank: int) -> Tensor:
    """The entry of a rank and the next, or itself if it is the last, float64, [2]."""
    following = min(rank + 1, len(values) - 1)
    if values.device.type != "cpu":
        return torch.stack([values.kthvalue(k + 1).values for k in (rank, following)]).double()
    # NumPy's sort is faster than its selection, which is slow where many are equal, and than kthvalue. It knows no
    # bfloat16.
    ordered = np.sort((values.float() if values.dtype in HALF else values).numpy())
    return torch.tensor([ordered[rank], ordered[following]], dtype=torch.float64)


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
