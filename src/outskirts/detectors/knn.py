"""Distance to the k-th nearest training feature.

References:
    | Out-of-Distribution Detection with Deep Nearest Neighbors (Sun et al., 2022)
    | https://arxiv.org/abs/2204.06507
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from ..bounds import Count
from ..errors import OutskirtsError
from ..extraction.blocks import traced
from ..extraction.outputs import Outputs
from ..neighbours.approximate import InvertedIndex
from ..neighbours.exact import distances, squared_lengths
from .base import Detector, choices, register
from .common.derived import unit

__all__ = ["KNN"]


@register("knn")
class KNN(Detector):
    """Distance of the normalised feature to its k-th nearest among the training features.

    Arguments:
        k: Rank of the neighbour, at least 1; published grid 50, 100, 200, 500, 1000.
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
        k: Count = 50,
        space: Literal["features", "projection"] = "features",
        index: Literal["exact", "faiss"] = "exact",
    ) -> None:
        super().__init__()
        self.k = k
        self.space, self.index = space, index
        self._lists: InvertedIndex | None = None
        #: The squared lengths of the rows of a bank, and this bank.
        self._squares: tuple[Tensor, Tensor] | None = None
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
        known = outputs.cached(("nearest", self.space, id(bank)), lambda: {"bank": bank})
        # In a sweep, the largest k has found the neighbours of all.
        if "near" not in known or known["near"].shape[1] < self.k:
            queries = unit(outputs, self.name, self.space).to(bank.device)
            known["near"] = distances(queries, bank, self.k, squares=self._squared(bank))
        return known["near"][:, self.k - 1]

    def _squared(self, bank: Tensor) -> Tensor | None:
        """What `distances` would otherwise compute for each batch; a graph has it in itself."""
        if traced():
            return None
        if self._squares is None or self._squares[1] is not bank:
            self._squares = squared_lengths(bank), bank
        return self._squares[0]
