"""Nearest rows of a bank, found exactly.

Where the processor multiplies in bfloat16 several times as fast, a product of rounded rows names candidates, whose
distances are then computed as they are. Rounding errors are at most the product of lengths, those of what was rounded
away being known; so it is known, too, whether a row that is no candidate might be nearer. Queries of which that cannot
be excluded are compared with all rows.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from ..devices import faster_precision
from ..extraction.blocks import BUDGET, split, traced

__all__ = ["Rounded", "distances", "exhaustive", "kth_distance", "smallest", "squared_lengths"]

#: Numbers of which only the least is compared at first.
_GROUP = 32
#: Half the distance of two neighbouring bfloat16 numbers, in terms of the smaller.
_ROUNDING = 2.0**-8
#: Rows of a bank whose distances tell about how near the nearest of all are.
_SAMPLE = 1024
#: Numbers of a bank that are gathered at once.
_GATHERED = 2**20
#: Rows of a bank whose squares are summed at once.
_SUMMED = 2**14


def _smallest(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k smallest numbers of each row in ascending order, and their columns."""
    rows, length = values.shape
    groups = length // _GROUP
    if groups < 4 * k:
        smallest = values.topk(k, dim=1, largest=False)
        return smallest.values, smallest.indices
    # A group's numbers are `groups` columns apart, so that whole rows are compared at once.
    least = values[:, : groups * _GROUP].view(rows, _GROUP, groups).amin(1)
    chosen = least.topk(k, dim=1, largest=False, sorted=False).indices
    members = torch.arange(0, groups * _GROUP, groups, device=values.device)
    rest = torch.arange(groups * _GROUP, length, device=values.device).expand(rows, -1)
    columns = torch.cat([(chosen[:, :, None] + members).flatten(1), rest], dim=1)
    smallest = values.gather(1, columns).topk(k, dim=1, largest=False)
    return smallest.values, columns.gather(1, smallest.indices)


def smallest(values: Tensor, k: int) -> Tensor:
    """The k smallest numbers of each row, in ascending order.

    Those are in the k groups of neighbours whose least numbers are the smallest, so that nearly all others are passed
    over once, and never sorted.

    Arguments:
        values: [N, M], M at least k.
        k: Number of values to find.

    Returns:
        [N, k].
    """
    return _smallest(values, k)[0]


class Rounded:
    """A bank in bfloat16, as differences to its mean.

    Arguments:
        bank: [M, D] in float32.
    """

    def __init__(self, bank: Tensor) -> None:
        self.bank, self.center = bank, bank.mean(0)
        moved = bank - self.center
        rounded = moved.bfloat16()
        self.longest = moved.norm(dim=1).amax()
        self.lost = (moved - rounded.float()).norm(dim=1).amax()
        self._columns = torch.cat([rounded, *_halves(moved.square().sum(1)), *2 * [rounded.new_ones(len(bank), 1)]], 1)

    def nearest(self, queries: Tensor, k: int) -> Tensor:
        """Squared distances of queries [N, D] to the k nearest rows, ascending, [N, k]."""
        count = min(2 * k, len(self.bank))
        rough, candidates = self._candidates(queries, count)
        # So few at a time that what is gathered stays in the processor's cache.
        rows = max(1, _GATHERED // (count * queries.shape[1]))
        near = torch.cat(
            [
                self._squared(*pair).topk(k, largest=False).values
                for pair in zip(queries.split(rows), candidates.split(rows))
            ]
        )
        if count < len(self.bank):
            unsure = near[:, -1] >= rough
            if unsure.any():
                near[unsure] = exhaustive(queries[unsure], self.bank, k)
        return near

    def _squared(self, queries: Tensor, rows: Tensor) -> Tensor:
        """Squared distances of queries [N, D] to rows of the bank [N, n]."""
        near = self.bank.index_select(0, rows.flatten()).view(*rows.shape, -1)
        near -= queries[:, None]
        return torch.linalg.vector_norm(near, dim=2).square_()

    def _candidates(self, queries: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The least that the squared distance to any other row can be, [N], and the candidates' rows, [N, count]."""
        moved = queries - self.center
        rounded = moved.bfloat16()
        ones = rounded.new_ones(len(queries), 1)
        # What is rounded in the end is the difference to about that of the last candidate, small where it counts.
        few = self.bank[:: max(1, len(self.bank) // _SAMPLE)]
        about = exhaustive(queries, few, max(1, count * len(few) // len(self.bank)))[:, -1]
        rows = torch.cat([-2 * rounded, ones, ones, *_halves(moved.square().sum(1) - about)], dim=1)
        rough, candidates = _smallest(rows @ self._columns.T, count)
        last, wide = rough[:, -1].float(), rounded.float()
        error = 2 * ((moved - wide).norm(dim=1) * self.longest + wide.norm(dim=1) * self.lost)
        # That of lengths, each the sum of two numbers, and that of sums in float32.
        error += 2.0**-15 * (self.longest + moved.norm(dim=1)).square()
        return about + last - 2 * _ROUNDING * last.abs() - error, candidates


def _halves(values: Tensor) -> list[Tensor]:
    """Numbers [N] as sums of two bfloat16 numbers, [N, 1] each."""
    upper = values.bfloat16()
    return [upper[:, None], (values - upper.float()).bfloat16()[:, None]]


def squared_lengths(bank: Tensor) -> Tensor:
    """The squared lengths of the rows of a bank [M, D], [M], in single precision at least."""
    wide = torch.promote_types(bank.dtype, torch.float32)
    return torch.cat([some.to(wide).square().sum(1) for some in split(bank, _SUMMED)])


def exhaustive(queries: Tensor, bank: Tensor, k: int, squares: Tensor | None = None) -> Tensor:
    """Squared distances of queries [N, D] to the k nearest rows of a bank [M, D], ascending, [N, k].

    Arguments:
        queries: [N, D].
        bank: [M, D].
        k: Number of neighbours.
        squares: What `squared_lengths` gives for the bank, if it is known.
    """
    squares = bank.square().sum(1) if squares is None else squares
    # |q|^2 is constant over the bank, so it is added after the search.
    near = smallest(torch.addmm(squares, queries, bank.T, alpha=-2), k)
    return near + queries.square().sum(1, keepdim=True)


@cache
def _rounds_faster() -> bool:
    return faster_precision(torch.device("cpu")) == "bf16"


def _pays(queries: int, bank: Tensor, k: int) -> bool:
    """Whether rounding saves more than the second look at candidates costs."""
    many = len(bank) >= 8 * _GROUP * k and queries * bank.numel() >= 2**33
    return many and bank.device.type == "cpu" and bank.dtype == torch.float32 and _rounds_faster()


def distances(queries: Tensor, bank: Tensor, k: int, budget: int = BUDGET, squares: Tensor | None = None) -> Tensor:
    r"""The squared Euclidean distances of each query to the k nearest rows of the bank, in ascending order.

    Arguments:
        queries: [N, D].
        bank: [M, D], M at least k.
        k: Number of neighbours.
        budget: Bytes that one block of distances may take.
        squares: What `squared_lengths` gives for the bank; who asks for few queries at a time saves much by it.

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
        few = min(k, len(some))
        rounded = Rounded(some) if not traced() and _pays(len(queries), some, few) else None
        for place, block in enumerate(split(queries, rows)):
            block = block.to(wide)
            if rounded is None:
                known = squares[start : start + part] if squares is not None and squares.dtype == wide else None
                nearest = exhaustive(block, some, few, known)
            else:
                nearest = rounded.nearest(block, few)
            if start:
                near[place] = torch.cat([near[place], nearest], dim=1).sort(dim=1).values[:, :k]
            else:
                near.append(nearest)
    return torch.cat(near).clamp_min(0)


def kth_distance(queries: Tensor, bank: Tensor, k: int, budget: int = BUDGET) -> Tensor:
    """The last column of `distances`, [N]."""
    return distances(queries, bank, k, budget)[:, -1]
