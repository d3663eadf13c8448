"""What a training does where some classes have far more images than others: weights of classes, balanced draws."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from ... import grouped
from ...seeding import generator

__all__ = ["BalancedDraws", "class_weights"]


def class_weights(frequencies: Tensor) -> Tensor:
    """The weight of an image of each class with which all classes count alike, [C]; 0 for a class without images.

    Arguments:
        frequencies: How many images of each class there are, or their share, [C]. Of N images in C classes, n of them
            in its own, an image has the weight N / (C n).

    >>> class_weights(torch.tensor([300.0, 15.0, 0.0])).tolist()
    [0.5249999761581421, 10.5, 0.0]
    """
    there = frequencies > 0
    even = frequencies.sum() / there.sum()
    return torch.where(there, even / frequencies, 0.0)


@dataclass(frozen=True, eq=False)
class BalancedDraws:
    """An endless sequence of images in which every class has the same probability at every place.

    The classes take turns: each has one place among the first C, one among the next C and so on, in a new order each
    time. The images of a class are all drawn before one of them is drawn again, and then in a new order.

    Arguments:
        labels: Class of each image, [N]; classes without images are never drawn.
        seed: Seed of the order.
        name: Tells the sequence from others of the same seed.
    """

    labels: Tensor
    seed: int
    name: str = "balanced"
    #: By class, the latest turn through its images and their order in it.
    _orders: dict[int, tuple[int, list[int]]] = field(default_factory=dict, init=False, repr=False)

    def __call__(self, places: Tensor) -> Tensor:
        """The images at these places of the sequence, which are counted from 0, int64 [n]."""
        if not len(places):
            return places
        count = len(self._members)
        turns = places // count
        first, last = int(turns.min()), int(turns.max())
        classes = torch.stack([self._order(count, "classes", turn) for turn in range(first, last + 1)])
        drawn = zip(classes[turns - first, places % count].tolist(), turns.tolist())
        return torch.tensor([self._image(*pair) for pair in drawn])

    def _image(self, row: int, turn: int) -> int:
        """The image that a class has in one of its turns."""
        members = self._members[row]
        again, place = divmod(turn, len(members))
        if self._orders.get(row, (-1,))[0] != again:
            self._orders[row] = again, members[self._order(len(members), row, again)].tolist()
        return self._orders[row][1][place]

    @cached_property
    def _members(self) -> tuple[Tensor, ...]:
        """The images of each class that has some."""
        by_class = grouped.places(self.labels, int(self.labels.max()) + 1)
        return tuple(part for part in by_class.order.split(by_class.counts.tolist()) if len(part))

    def _order(self, size: int, *path: str | int) -> Tensor:
        return torch.randperm(size, generator=generator(self.seed, self.name, *path))
