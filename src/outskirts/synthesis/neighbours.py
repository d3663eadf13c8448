"""Cosines with the k-th nearest of many vectors, exact and by class.

They stand for distances: of unit vectors, the squared one is ``2 - 2 cos``.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

__all__ = ["kth_cosine", "kth_largest", "kth_own_cosine"]


def kth_largest(values: Tensor, k: int) -> Tensor:
    """The k-th largest value of each row, counted from 1.

    Arguments:
        values: [..., n], contiguous; on a CPU it is reordered within its rows, which spares a copy.
        k: From 1 to n.

    Returns:
        [...].
    """
    if values.device.type != "cpu":
        return values.topk(k, sorted=False).values.amin(-1)
    # Torch's own searches carry indices along, and take several times as long as numpy's.
    place = values.shape[-1] - k
    parts = np.array_split(values.view(-1, values.shape[-1]).numpy(), torch.get_num_threads())
    with ThreadPoolExecutor(len(parts)) as pool:
        for _ in pool.map(lambda part: part.partition(place, axis=1), parts):
            pass
    return values[..., place].clone()


def kth_cosine(vectors: Tensor, bank: Tensor, valid: Tensor | None, k: int, budget: int = 2**26) -> Tensor:
    """The cosine of each vector with its k-th nearest row of the bank, class by class.

    Arguments:
        vectors: [C, N, D], of any norm.
        bank: [C, n, D], of unit norm where valid.
        valid: Which rows count, bool [C, n], at least k of each class; None for all.
        k: Which neighbour, counted from 1. A vector of the bank is its own first.
        budget: Bytes that one block of cosines may take.

    Returns:
        [C, N].
    """
    # Dividing by the norm keeps the order, so it can wait until one value per vector is left.
    norms = vectors.norm(dim=2).clamp_min(torch.finfo(bank.dtype).tiny)
    return _kth_product(vectors, bank, valid, k, budget) / norms


def kth_own_cosine(bank: Tensor, valid: Tensor | None, k: int, budget: int = 2**26) -> Tensor:
    """`kth_cosine` of the bank's own rows, each its own first neighbour, for three fifths of the products.

    That is if the budget has room for the cosines of all pairs, of which most are then computed once.
    """
    classes, size, _ = bank.shape
    if classes * size**2 * bank.element_size() > budget:
        return _kth_product(bank, bank, valid, k, budget)
    cosine = bank.new_empty(classes, size, size)
    step = -(-size // 4)
    for start, block in zip(range(0, size, step), bank.split(step, dim=1)):
        stop = start + step
        upper = torch.bmm(block, bank[:, start:].mT)
        cosine[:, start:stop, start:] = upper
        cosine[:, stop:, start:stop] = upper[:, :, step:].mT
    return _kth(cosine, valid, k)


def _kth_product(vectors: Tensor, bank: Tensor, valid: Tensor | None, k: int, budget: int) -> Tensor:
    classes, size, _ = bank.shape
    rows = max(1, budget // (classes * size * bank.element_size()))
    return torch.cat([_kth(torch.bmm(block, bank.mT), valid, k) for block in vectors.split(rows, dim=1)], 1)


def _kth(cosine: Tensor, valid: Tensor | None, k: int) -> Tensor:
    if valid is not None:
        cosine.masked_fill_(~valid[:, None], -torch.inf)
    return kth_largest(cosine, k)
