"""Principal components of each class: how many directions it hardly varies in, and by how much unseen vectors do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ... import grouped

__all__ = ["ClassBlock", "centered_blocks", "invariants", "pca_residual"]


class ClassBlock(NamedTuple):
    """Some classes' vectors about their means, float64.

    Arguments:
        classes: Which of the C.
        values: [c, n, D], zero where a class has fewer than n.
        means: [c, D].
        counts: [c].
    """

    classes: slice
    values: Tensor
    means: Tensor
    counts: Tensor


def centered_blocks(values: Tensor, labels: Tensor, classes: int, budget: int = 2**27) -> Iterator[ClassBlock]:
    """All classes' vectors, as many classes at a time as fit into `budget` bytes, at least one.

    Arguments:
        values: [N, D].
        labels: [N], each class at least once.
        classes: C.
        budget: Bytes of memory, of which the vectors themselves take a half.
    """
    rows, valid = grouped.table(labels, classes)
    step = max(1, budget // (16 * rows.shape[1] * values.shape[1]))
    for start in range(0, classes, step):
        block = slice(start, start + step)
        inside, counts = valid[block, :, None], valid[block].sum(1)
        taken = values[rows[block]].double() * inside
        means = taken.sum(1) / counts[:, None]
        yield ClassBlock(block, (taken - means[:, None]) * inside, means, counts)


def invariants(
    values: Tensor, labels: Tensor, classes: int, variance: float = 0.05, reference_quirks: bool = False
) -> int:
    """How many of the least varying directions of a class carry at most a share of its variance, on average.

    Arguments:
        values: [N, D].
        labels: [N], each class at least twice.
        classes: C.
        variance: Largest share of the variance of a class, from 0 to 1.
        reference_quirks: Find the number of directions as the published code does. It takes the position of the last
            component needed for their number, counts from 0 and so finds one direction more.

    Returns:
        From 1 to D - 1.
    """
    dim = values.shape[1]
    counts = []
    for block in centered_blocks(values, labels, classes):
        powers = torch.linalg.svdvals(block.values).square().cumsum(1)
        needed = (powers < (1 - variance) * powers[:, -1:]).sum(1) + 1
        counts.append(dim - needed + reference_quirks)
    return min(max(1, int(torch.cat(counts).double().mean())), dim - 1)


def pca_residual(values: Tensor, labels: Tensor, unseen: Tensor, unseen_labels: Tensor, classes: int, m: int) -> float:
    """The mean square of unseen vectors in the m directions in which their class varies least.

    It is what a class-wise linear map would make of the invariants. A class of few vectors does not tell some
    directions apart; of these it counts the average.

    Arguments:
        values: [N, D].
        labels: [N], each class at least twice.
        unseen: [M, D].
        unseen_labels: [M].
        classes: C.
        m: How many directions.
    """
    dim = values.shape[1]
    rows, valid = grouped.table(unseen_labels, classes)
    total = values.new_zeros((), dtype=torch.float64)
    for block in centered_blocks(values, labels, classes):
        axes = torch.linalg.svd(block.values, full_matrices=False).Vh[:, : dim - m]
        # Centred vectors span one dimension less than there are of them.
        kept = (block.counts - 1).clamp_max(axes.shape[1])
        axes = axes * (torch.arange(axes.shape[1], device=values.device) < kept[:, None])[..., None]
        centered = (unseen[rows[block.classes]].double() - block.means[:, None]) * valid[block.classes, :, None]
        outside = centered.square().sum((1, 2)) - (centered @ axes.mT).square().sum((1, 2))
        total += (outside / (dim - kept)).sum()
    return float(total / len(unseen))
