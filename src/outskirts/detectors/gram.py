"""Gram matrices of feature maps.

References:
    | Detecting Out-of-Distribution Examples with Gram Matrices (Sastry and Oore, 2020)
    | https://arxiv.org/abs/1912.12510
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..bounds import Count
from ..errors import OutskirtsError
from ..extraction.blocks import in_blocks
from ..extraction.outputs import Outputs
from ..extraction.probes import StageProbe
from ..seeding import generator
from .base import Detector, register
from .msp import msp

__all__ = ["Gram", "GramSums", "deviations", "gram_sums"]

#: Share of the training images that the deviations are measured on, not the bounds.
_HELD_OUT = 0.1


def gram_sums(maps: Tensor, orders: int) -> Tensor:
    r"""The row sums of Gram matrices of powers of the maps, :math:`\sum_j (F^p F^{p\top})_{ij}`, to the power of 1/p.

    Arguments:
        maps: [B, C, H, W].
        orders: p is 1, 2, … up to this.

    Returns:
        [B, orders, C].
    """
    rows = maps.flatten(2)
    sums = []
    for order in range(1, orders + 1):
        powers = rows**order
        # The sum over j comes first: no matrix [C, C] is made.
        row_sums = (powers @ powers.sum(1)[..., None])[..., 0]
        sums.append(row_sums.sign() * row_sums.abs() ** (1 / order))
    return torch.stack(sums, 1)


def deviations(sums: Tensor, least: Tensor, most: Tensor) -> Tensor:
    """How far sums lie outside bounds, as a share of these, over all of them.

    Arguments:
        sums: [N, orders, C].
        least: Smallest value of each sum on training images of the predicted class, like `sums`.
        most: Largest value of each sum on training images of the predicted class, like `sums`.

    Returns:
        [N], float64, at least 0.
    """
    below = (least - sums).clamp_min(0) / (least.abs() + 1e-6)
    above = (sums - most).clamp_min(0) / (most.abs() + 1e-6)
    return (below + above).sum((1, 2), dtype=torch.float64)


@dataclass(frozen=True)
class GramSums(StageProbe):
    """A probe: `gram_sums` of a stage, [B, orders, C].

    Arguments:
        stage: Counted from the last, which is -1.
        orders: Powers 1, 2, … up to this.
    """

    stage: int
    orders: int

    @property
    def key(self) -> str:
        """Names the tensor in the outputs."""
        return f"gram{self.stage}-{self.orders}"

    def reduce(self, maps: Tensor) -> Tensor:
        return gram_sums(maps, self.orders)


@register("gram")
class Gram(Detector):
    """How far the correlations of feature maps leave the range that they have in training images predicted alike.

    The deviation of each stage is in units of its mean over a tenth of the training images, which the range is not
    taken from; their sum is divided by the largest softmax probability. Published code takes every convolution and
    every rectifier that is a module, so that its results depend on how a network is written; here it is the stages.

    Arguments:
        stages: Number of stages, at least 1, from the last; see `outskirts.models.stages.find_stages`.
        orders: Powers 1, 2, … up to this, at least 1; published as 5.
    """

    fit_on = "train"
    fits_probes = True
    norms: Tensor | None

    def __init__(self, stages: Count = 3, orders: Count = 5) -> None:
        super().__init__()
        self.stages = stages
        self.orders = orders
        self.probes = tuple(GramSums(-1 - place, orders) for place in range(stages))
        self.register_buffer("norms", None)
        for place in range(stages):
            self.register_buffer(f"least{place}", None)
            self.register_buffer(f"most{place}", None)

    def fit(self, outputs: Outputs) -> Gram:
        count = len(outputs)
        if count < 2:
            raise OutskirtsError(f"The detector '{self.name}' needs two training images or more, not {count}.")
        order = torch.randperm(count, generator=generator(0, "gram"))
        held = max(1, round(_HELD_OUT * count))
        unseen, seen = order[:held], order[held:]
        predicted = outputs.need("logits", self.name).argmax(1)
        for place, probe in enumerate(self.probes):
            sums = outputs.need(probe.key, self.name)[seen]
            index = predicted[seen][:, None, None].expand_as(sums)
            for part, how in (("least", "amin"), ("most", "amax")):
                # A class that is not predicted has the range of all.
                bounds = getattr(sums, how)(0).expand(outputs.classes, -1, -1).clone()
                setattr(self, f"{part}{place}", bounds.scatter_reduce(0, index, sums, how, include_self=False))
        deviations = self._deviations(outputs[unseen])
        self.norms = deviations.mean(0).clamp_min(1e-12)
        return self

    def score(self, outputs: Outputs) -> Tensor:
        relative = self._deviations(outputs) / self.require("norms")
        return relative.sum(1) * msp(outputs.need("logits", self.name).double()).exp()

    def _deviations(self, outputs: Outputs) -> Tensor:
        """Deviations of each stage, [N, stages]."""
        predicted = outputs.need("logits", self.name).argmax(1)
        columns = []
        for place, probe in enumerate(self.probes):
            least, most = self.require(f"least{place}"), self.require(f"most{place}")
            sums = outputs.need(probe.key, self.name)
            columns.append(in_blocks(lambda s, of, a=least, b=most: deviations(s, a[of], b[of]), sums, predicted))
        return torch.stack(columns, 1)
