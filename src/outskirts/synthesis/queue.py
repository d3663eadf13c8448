"""The latest features of each class, from which outliers in feature space are made."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import grouped
from ..devices import HostBuffers, there
from ..errors import OutskirtsError

__all__ = ["ClassQueue"]


class ClassQueue(HostBuffers):
    """A first-in-first-out queue of feature vectors per class, as one ring buffer.

    Everything is held in buffers, so that it is checkpointed with the method that owns it. The first ``filled[c]`` rows
    of ``values[c]`` are those written so far, in no particular order; the others are zero. Values move to a device with
    the method, the numbers of rows stay on the host.

    Arguments:
        classes: C.
        size: Rows per class.
        dim: D.

    >>> queue = ClassQueue(classes=2, size=2, dim=1)
    >>> queue.push(torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([0, 0, 0]))
    >>> queue.values[0].flatten().tolist(), queue.filled.tolist()
    ([3.0, 2.0], [2, 0])
    """

    host_buffers = ("written",)
    values: Tensor
    written: Tensor

    def __init__(self, classes: int, size: int, dim: int) -> None:
        super().__init__()
        if size < 1:
            raise OutskirtsError(f"A queue holds at least 1 feature vector per class, not {size}.")
        self.register_buffer("values", torch.zeros(classes, size, dim))
        self.register_buffer("written", torch.zeros(classes, dtype=torch.int64))

    @property
    def filled(self) -> Tensor:
        """How many rows of each class have been written, [C], int64, on the host; at most the size."""
        return self.written.clamp_max(self.values.shape[1])

    @torch.no_grad()
    def push(self, features: Tensor, labels: Tensor) -> None:
        """Append feature vectors, in order, in place of the oldest.

        Arguments:
            features: [N, D].
            labels: [N]. Of more rows of a class than it can hold, the last ones stay. Where the host has them, it does
                not wait for the device of the features.
        """
        classes, size, dim = self.values.shape
        by_class = grouped.places(labels.to(self.written.device), classes)
        own = by_class.counts[by_class.labels]
        slot = by_class.labels * size + (self.written[by_class.labels] + by_class.rank) % size
        # Of rows bound for one slot, all bring the last one's value: a scatter keeps no order among them.
        last = torch.arange(len(labels)) + (own - 1 - by_class.rank) // size * size
        rows, slot = (there(index, self.values.device) for index in (by_class.order[last], slot))
        self.values.view(-1, dim).index_copy_(0, slot, features.detach()[rows].to(self.values))
        self.written += by_class.counts
