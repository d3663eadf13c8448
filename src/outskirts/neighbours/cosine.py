"""Cosines with the k-th nearest of many vectors, exact and by class.

They stand for distances: of unit vectors, the squared one is ``2 - 2 cos``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

__all__ = ["Scratch", "kth_cosine_about", "kth_largest", "kth_own_cosine"]


class Scratch:
    """Memory that is taken once and used again: fresh pages would cost a fifth of the product written to them.

    Arguments:
        budget: Bytes that those who take it should keep to.
    """

    def __init__(self, budget: int = 2**26) -> None:
        self.budget = budget
        self._memory: Tensor | None = None

    def take(self, shape: Sequence[int], like: Tensor) -> Tensor:
        """A tensor of the shape, on the device and of the type of `like`, valid until the next one is taken."""
        size = math.prod(shape)
        if self._memory is None or len(self._memory) < size:
            self._memory = like.new_empty(size)
        return self._memory[:size].view(*shape)


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


def kth_cosine_about(
    points: Tensor,
    offsets: Tensor,
    signs: Tensor,
    bank: Tensor,
    valid: Tensor | None,
    k: int,
    scratch: Scratch | None = None,
) -> Tensor:
    """The cosine of each ``points[:, p] + signs[p] * offsets`` with its k-th nearest row of the bank, class by class.

    The products of offsets and bank, which take the time, are made once for all points.

    Arguments:
        points: [C, P, D], of any norm.
        offsets: [C, L, D].
        signs: Factors of the offsets, 1 or -1, [P].
        bank: [C, n, D], of unit norm where valid.
        valid: Which rows count, bool [C, n], at least k of each class; None for all.
        k: Which neighbour, counted from 1.
        scratch: Where blocks of cosines are made, within its budget.

    Returns:
        [C, P, L].
    """
    scratch = scratch or Scratch()
    classes, size, _ = bank.shape
    squares = points.norm(dim=2)[:, :, None].square() + offsets.norm(dim=2)[:, None].square()
    squares += 2 * signs[:, None] * torch.bmm(points, offsets.mT)
    fixed = torch.bmm(points, bank.mT)
    near = torch.empty_like(squares)
    rows = max(1, scratch.budget // (2 * classes * size * bank.element_size()))
    for start in range(0, offsets.shape[1], rows):
        block = offsets[:, start : start + rows]
        product, cosine = scratch.take((2, classes, block.shape[1], size), bank)
        torch.bmm(block, bank.mT, out=product)
        for p, sign in enumerate(signs):
            torch.addcmul(fixed[:, p, None], product, sign, out=cosine)
            near[:, p, start : start + rows] = _kth(cosine, valid, k)
    # Dividing by the norm keeps the order, so it can wait until one value per vector is left.
    return near / squares.clamp_min(torch.finfo(bank.dtype).tiny).sqrt()


def kth_own_cosine(bank: Tensor, valid: Tensor | None, k: int, scratch: Scratch | None = None) -> Tensor:
    """The cosine of each row of the bank with its k-th nearest, itself the first, for three fifths of the products.

    That is if the budget has room for the cosines of all pairs, of which most are then computed once.

    Arguments:
        bank: [C, n, D], of unit norm where valid.
        valid, k, scratch: Which rows count (None for all), which neighbour, and where blocks of cosines are made; see
            `kth_cosine_about`.

    Returns:
        [C, n].
    """
    scratch = scratch or Scratch()
    classes, size, _ = bank.shape
    if classes * size**2 * bank.element_size() > scratch.budget:
        return _kth_blockwise(bank, valid, k, scratch)
    cosine = scratch.take((classes, size, size), bank)
    step = -(-size // 4)
    for start, block in zip(range(0, size, step), bank.split(step, dim=1)):
        stop = start + step
        upper = torch.bmm(block, bank[:, start:].mT)
        cosine[:, start:stop, start:] = upper
        cosine[:, stop:, start:stop] = upper[:, :, step:].mT
    return _kth(cosine, valid, k)


def _kth_blockwise(bank: Tensor, valid: Tensor | None, k: int, scratch: Scratch) -> Tensor:
    classes, size, _ = bank.shape
    rows = max(1, scratch.budget // (classes * size * bank.element_size()))
    near = []
    for block in bank.split(rows, dim=1):
        cosine = scratch.take((classes, block.shape[1], size), bank)
        near.append(_kth(torch.bmm(block, bank.mT, out=cosine), valid, k))
    return torch.cat(near, 1)


def _kth(cosine: Tensor, valid: Tensor | None, k: int) -> Tensor:
    if valid is not None:
        cosine.masked_fill_(~valid[:, None], -torch.inf)
    return kth_largest(cosine, k)
