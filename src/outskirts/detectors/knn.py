"""Distance to the k-th nearest training feature.

References:
    | Out-of-Distribution Detection with Deep Nearest Neighbors (Sun et al., 2022)
    | https://arxiv.org/abs/2204.06507
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..errors import OutskirtsError, unknown
from ..evaluation.outputs import Outputs
from .base import Detector, register
from .inputs import BUDGET

__all__ = ["KNN", "kth_distance"]


def kth_distance(queries: Tensor, bank: Tensor, k: int, budget: int = BUDGET) -> Tensor:
    r"""The squared Euclidean distance of each query to its k-th nearest row of the bank.

    Arguments:
        queries: [N, D].
        bank: [M, D], M at least k.
        k: Which neighbour, counted from 1.
        budget: Bytes that one block of distances may take.

    Returns:
        [N], at least 0.
    """
    rows = max(1, budget // (len(bank) * bank.element_size()))
    norms = bank.square().sum(1)
    kth = []
    for block in queries.split(rows):
        # |q|^2 is constant over the bank, so it is added after the search.
        near = torch.addmm(norms, block, bank.T, alpha=-2).topk(k, dim=1, largest=False).values[:, -1]
        kth.append(near + block.square().sum(1))
    return torch.cat(kth).clamp_min(0)


@register("knn")
class KNN(Detector):
    """Distance of the normalised feature to its k-th nearest among the training features.

    Arguments:
        k: Which neighbour; published grid 50, 100, 200, 500, 1000.
        space: Distances between ``features``, or between points of the ``projection`` to the sphere that a
            classifier with prototypes has.
    """

    fit_on = "train"
    bank: Tensor | None

    def __init__(self, k: int = 50, space: Literal["features", "projection"] = "features") -> None:
        super().__init__()
        if space not in ("features", "projection"):
            raise unknown("space of the detector 'knn'", str(space), ("features", "projection"))
        self.k, self.space = k, space
        self.needs = frozenset({space})
        self.register_buffer("bank", None)

    def fit(self, outputs: Outputs) -> KNN:
        if len(outputs) < self.k:
            raise OutskirtsError(
                f"The detector 'knn' looks for neighbour {self.k} among {len(outputs)} training images; "
                f"choose k of at most {len(outputs)}."
            )
        self.bank = normalize(outputs.need(self.space, self.name).float(), dim=1)
        return self

    def score(self, outputs: Outputs) -> Tensor:
        bank = self.require("bank")
        return kth_distance(normalize(outputs.need(self.space, self.name).to(bank), dim=1), bank, self.k)
