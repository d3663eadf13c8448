"""Distance to the k-th nearest training feature.

References:
    | Out-of-Distribution Detection with Deep Nearest Neighbors (Sun et al., 2022)
    | https://arxiv.org/abs/2204.06507
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ..errors import OutskirtsError, unknown
from ..evaluation.outputs import Outputs
from .base import Detector, choices, register
from .inputs import BUDGET
from .inverted import InvertedIndex
from .shared import unit

__all__ = ["KNN", "distances", "kth_distance", "smallest"]

#: Numbers of which only the least is compared at first.
_GROUP = 32


def smallest(values: Tensor, k: int) -> Tensor:
    """The k smallest numbers of each row, in ascending order.

    Those are in the k groups of neighbours whose least numbers are the smallest, so that nearly all others are passed
    over once, and never sorted.

    Arguments:
        values: [N, M], M at least k.
        k: How many.

    Returns:
        [N, k].
    """
    rows, length = values.shape
    groups = length // _GROUP
    if groups < 4 * k:
        return values.topk(k, dim=1, largest=False).values
    grouped = values[:, : groups * _GROUP].view(rows, groups, _GROUP)
    chosen = grouped.amin(2).topk(k, dim=1, largest=False, sorted=False).indices
    kept = grouped.gather(1, chosen[..., None].expand(-1, -1, _GROUP)).flatten(1)
    return torch.cat([kept, values[:, groups * _GROUP :]], dim=1).topk(k, dim=1, largest=False).values


def distances(queries: Tensor, bank: Tensor, k: int, budget: int = BUDGET) -> Tensor:
    r"""The squared Euclidean distances of each query to the k nearest rows of the bank, in ascending order.

    Arguments:
        queries: [N, D].
        bank: [M, D], M at least k.
        k: How many neighbours.
        budget: Bytes that one block of distances may take.

    Returns:
        [N, k], at least 0.
    """
    # Half of what is stored in half precision would be lost in the sums.
    wide = torch.promote_types(queries.dtype, torch.float32)
    part = max(k, min(len(bank), budget // (2 * bank.shape[1] * wide.itemsize)))
    rows = max(1, budget // (2 * part * wide.itemsize))
    near: list[Tensor] = []
    for start in range(0, len(bank), part):
        some = bank[start : start + part].to(wide)
        norms = some.square().sum(1)
        for place, block in enumerate(queries.split(rows)):
            # |q|^2 is constant over the bank, so it is added after the search.
            found = smallest(torch.addmm(norms, block.to(wide), some.T, alpha=-2), min(k, len(some)))
            if start:
                near[place] = torch.cat([near[place], found], dim=1).sort(dim=1).values[:, :k]
            else:
                near.append(found)
    lengths = queries.to(wide).square().sum(1, keepdim=True)
    return (torch.cat(near) + lengths).clamp_min(0)


def kth_distance(queries: Tensor, bank: Tensor, k: int, budget: int = BUDGET) -> Tensor:
    """The last column of `distances`, [N]."""
    return distances(queries, bank, k, budget)[:, -1]


@register("knn")
class KNN(Detector):
    """Distance of the normalised feature to its k-th nearest among the training features.

    Arguments:
        k: Which neighbour; published grid 50, 100, 200, 500, 1000.
        space: Distances between ``features``, or between points of the ``projection`` to the sphere that a
            classifier with prototypes has.
        index: ``exact``, or ``faiss`` for banks of millions: an inverted file, which may miss neighbours and needs
            ``pip install 'outskirts[faiss]'``.
    """

    fit_on = "train"
    grid = choices(k=(50, 100, 200, 500, 1000))
    bank: Tensor | None

    def __init__(
        self,
        k: int = 50,
        space: Literal["features", "projection"] = "features",
        index: Literal["exact", "faiss"] = "exact",
    ) -> None:
        super().__init__()
        if space not in ("features", "projection"):
            raise unknown("space of the detector 'knn'", str(space), ("features", "projection"))
        if index not in ("exact", "faiss"):
            raise unknown("index of the detector 'knn'", str(index), ("exact", "faiss"))
        self.k, self.space, self.index = k, space, index
        self._lists: InvertedIndex | None = None
        self.needs = frozenset({space})
        self.register_buffer("bank", None)

    def fit(self, outputs: Outputs) -> KNN:
        if len(outputs) < self.k:
            raise OutskirtsError(
                f"The detector 'knn' looks for neighbour {self.k} among {len(outputs)} training images; "
                f"choose k of at most {len(outputs)}."
            )
        self.bank = unit(outputs, self.name, self.space)
        return self

    def score(self, outputs: Outputs) -> Tensor:
        bank = self.require("bank")
        if self.index == "faiss":
            if self._lists is None or self._lists.bank is not bank:
                self._lists = InvertedIndex(bank)
            return self._lists.distances(unit(outputs, self.name, self.space), self.k)[:, -1]
        known = outputs.once(("nearest", self.space, id(bank)), lambda: {"bank": bank})
        # In a sweep, the largest k has found the neighbours of all.
        if "near" not in known or known["near"].shape[1] < self.k:
            known["near"] = distances(unit(outputs, self.name, self.space).to(bank.device), bank, self.k)
        return known["near"][:, self.k - 1]
