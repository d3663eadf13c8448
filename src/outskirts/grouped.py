"""Rows that belong to groups, such as features of classes: how many there are, their sums, their places.

Counts, sums and places do not wait for a device, and sums come out the same at every call on any. `latest`, `table` and
`shares` wait, because the size of what they return depends on the labels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .devices import full_precision

__all__ = ["Places", "counts", "latest", "places", "ranks", "shares", "sums", "table"]


def counts(labels: Tensor, groups: int) -> Tensor:
    """How many rows each group has, int64 [groups].

    Arguments:
        labels: The group of each row, integers [N], from 0 to groups - 1.
        groups: Number of groups.

    >>> counts(torch.tensor([2, 0, 2]), 4).tolist()
    [1, 0, 2, 0]
    """
    # `torch.bincount` would wait for CUDA to tell the largest label.
    index = labels.long()
    return index.new_zeros(groups).scatter_add_(0, index, torch.ones_like(index))


def sums(values: Tensor, labels: Tensor, groups: int) -> Tensor:
    """The sum of each group's rows [N, D], [groups, D]; zero where there are none.

    Arguments:
        values: [N, D], floating-point.
        labels: [N].
        groups: Number of groups.

    >>> sums(torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([1, 0, 1]), 2).tolist()
    [[2.0], [4.0]]
    """
    # As a product: `index_add` on CUDA adds in another order at every call.
    members = torch.arange(groups, device=labels.device)[:, None] == labels
    with full_precision(values):
        return members.to(values.dtype) @ values


def shares(chosen: Tensor, sizes: Tensor) -> Tensor:
    """The share of each group's rows that are chosen, float64 [at most groups]; groups without rows have none.

    Of rows that are predicted right, these are the accuracies of classes, and their mean is the balanced accuracy.

    Arguments:
        chosen: How many rows of each group are chosen, [groups].
        sizes: How many there are, [groups].

    >>> shares(torch.tensor([3, 0, 0]), torch.tensor([4, 0, 1])).mean().item()
    0.375
    """
    there = sizes > 0
    return chosen[there].double() / sizes[there].double()


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


def places(labels: Tensor, groups: int, order: Tensor | None = None) -> Places:
    """Where rows stand within their groups.

    Arguments:
        labels: The group of each row, integers [N], from 0 to groups - 1.
        groups: Number of groups.
        order: The rows in the order in which they count, such as a random one, int64 [N]; as they are unless given.

    >>> places(torch.tensor([1, 0, 1]), 2).rank.tolist()
    [0, 0, 1]
    >>> places(torch.tensor([1, 0, 1]), 2, order=torch.tensor([2, 1, 0])).order.tolist()
    [1, 2, 0]
    """
    labels = labels.long()
    sizes = counts(labels, groups)
    order = labels.argsort(stable=True) if order is None else order[labels[order].argsort(stable=True)]
    ranked = labels[order]
    rank = torch.arange(len(labels), device=labels.device) - (sizes.cumsum(0) - sizes)[ranked]
    return Places(order, ranked, rank, sizes)


def ranks(labels: Tensor, groups: int) -> Tensor:
    """How many earlier rows each row's group has, int64 [N].

    Arguments:
        labels: The group of each row, integers [N], from 0 to groups - 1.
        groups: Number of groups.

    >>> ranks(torch.tensor([1, 0, 1]), 2).tolist()
    [0, 0, 1]
    """
    by_group = places(labels, groups)
    return torch.empty_like(by_group.rank).scatter_(0, by_group.order, by_group.rank)


def latest(labels: Tensor, groups: int, most: int) -> Tensor:
    """The last rows of each group, sorted by group and in their order, int64 [at most N].

    Arguments:
        labels: The group of each row, integers [N], from 0 to groups - 1.
        groups: Number of groups.
        most: Rows to keep of a group.

    >>> latest(torch.tensor([1, 0, 1, 1]), 2, most=2).tolist()
    [1, 2, 3]
    """
    by_group = places(labels, groups)
    # Counted from the end of the group, so that the last rows are those that stay.
    return by_group.order[by_group.counts[by_group.labels] - by_group.rank <= most]


def table(labels: Tensor, groups: int, most: int | None = None) -> tuple[Tensor, Tensor]:
    """The rows of each group side by side.

    Arguments:
        labels: The group of each row, integers [N], from 0 to groups - 1.
        groups: Number of groups.
        most: Rows to keep of a group, the last ones; all unless given.

    Returns:
        The rows, int64 [groups, n] with n rows of the largest group, and which of these are rows, bool [groups, n].
        Where a group has fewer than n, the table is filled with 0.

    >>> table(torch.tensor([1, 0, 1]), 2)[0].tolist()
    [[1, 0], [0, 2]]
    """
    sizes = counts(labels, groups)
    width = int(sizes.max()) if most is None else min(most, int(sizes.max()))
    valid = torch.arange(width, device=labels.device) < sizes[:, None]
    rows = torch.zeros_like(valid, dtype=torch.int64)
    rows[valid] = latest(labels, groups, width)
    return rows, valid
