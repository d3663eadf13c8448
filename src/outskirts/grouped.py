"""Rows that belong to groups, such as features of classes: how many there are, their sums, their places.

Nothing here waits for a device, and sums come out the same at every call on any.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .devices import full_precision

__all__ = ["Places", "counts", "places", "sums"]


def counts(labels: Tensor, groups: int) -> Tensor:
    """How many rows each group has, int64 [groups].

    Arguments:
        labels: The group of each row, int64 [N], from 0 to groups - 1.
        groups: How many there are.

    >>> counts(torch.tensor([2, 0, 2]), 4).tolist()
    [1, 0, 2, 0]
    """
    # `torch.bincount` would wait for CUDA to tell the largest label.
    return labels.new_zeros(groups).scatter_add_(0, labels, torch.ones_like(labels))


def sums(values: Tensor, labels: Tensor, groups: int) -> Tensor:
    """The sum of each group's rows [N, D], [groups, D]; zero where there are none.

    Arguments:
        values: [N, D], floating-point.
        labels: [N].
        groups: How many there are.

    >>> sums(torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([1, 0, 1]), 2).tolist()
    [[2.0], [4.0]]
    """
    # As a product: `index_add` on CUDA adds in another order at every call.
    members = torch.arange(groups, device=labels.device)[:, None] == labels
    with full_precision(values):
        return members.to(values.dtype) @ values


class Places(NamedTuple):
    """Rows in the order of their groups.

    Arguments:
        order: The rows, first those of group 0 and so on, each group's in their order, [N].
        labels: The group of each of these, [N].
        rank: Which of its group's each of these is, counted from 0, [N].
        counts: Rows of each group, [groups].
    """

    order: Tensor
    labels: Tensor
    rank: Tensor
    counts: Tensor


def places(labels: Tensor, groups: int) -> Places:
    """Where rows stand within their groups.

    Arguments:
        labels: The group of each row, int64 [N].
        groups: How many there are.

    >>> places(torch.tensor([1, 0, 1]), 2).rank.tolist()
    [0, 0, 1]
    """
    sizes = counts(labels, groups)
    order = labels.argsort(stable=True)
    ranked = labels[order]
    rank = torch.arange(len(labels), device=labels.device) - (sizes.cumsum(0) - sizes)[ranked]
    return Places(order, ranked, rank, sizes)
