"""Approximate search for neighbours, in banks of millions.

References:
    | The Faiss library (Douze et al., 2024): inverted files
    | https://arxiv.org/abs/2401.08281
"""

from __future__ import annotations

from functools import cached_property
from math import isqrt
from typing import Any

import torch
from torch import Tensor

from ..errors import MissingExtra

__all__ = ["InvertedIndex"]


class InvertedIndex:
    """Rows in lists about centres, of which a query is compared with the nearest only.

    Arguments:
        bank: [M, D].
        searched: Share of the lists that a query is compared with: 1 is an exhaustive search.
    """

    def __init__(self, bank: Tensor, searched: float = 1 / 16) -> None:
        self.bank, self.searched = bank, searched

    @cached_property
    def _index(self) -> Any:
        try:
            import faiss
        except ImportError as error:
            raise MissingExtra("index=faiss of the detector 'knn'", "faiss") from error
        rows = self.bank.float().cpu().numpy()
        lists = max(1, min(4 * isqrt(len(rows)), len(rows) // 39))
        index = faiss.IndexIVFFlat(faiss.IndexFlatL2(rows.shape[1]), rows.shape[1], lists)
        index.train(rows)
        index.add(rows)
        index.nprobe = max(1, round(self.searched * lists))
        return index

    def distances(self, queries: Tensor, k: int) -> Tensor:
        """Squared Euclidean distances of queries [N, D] to the k nearest rows among those compared, ascending, [N, k].

        Where there are not so many, the last is repeated.
        """
        distances = torch.from_numpy(self._index.search(queries.float().cpu().numpy(), k)[0])
        # Faiss marks what it did not find by the largest number there is.
        distances = torch.where(distances < torch.finfo(torch.float32).max, distances, -torch.inf)
        return distances.cummax(1).values.to(queries.device)
