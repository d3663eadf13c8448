"""Rows of outputs, so many at a time as fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

__all__ = ["BLOCK", "BUDGET", "blocks", "in_blocks", "split", "traced"]

#: Images whose features are in float64 at one time; all of them may lie on the disk.
BLOCK = 1024


#: Bytes that one block of similarities may take.
BUDGET = 2**28


def traced() -> bool:
    """Whether a graph is being made of the computation: then nobody knows how many rows there will be."""
    return torch.compiler.is_compiling()


def split(column: Tensor, rows: int) -> Sequence[Tensor]:
    """A column [N, ...] in blocks of so many rows; in one, where a graph is made of the computation."""
    return (column,) if traced() else column.split(rows)


def blocks(*columns: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Rows of all columns [N, ...], so many at a time as are computed with at once."""
    return zip(*(split(column, BLOCK) for column in columns), strict=True)


def in_blocks(function: Callable[..., Tensor], *columns: Tensor) -> Tensor:
    """What a function gives for all rows of some columns, computed for a block of them after the other."""
    return torch.cat([function(*rows) for rows in blocks(*columns)])
