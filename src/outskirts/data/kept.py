"""Decoded images that a process keeps, for runs that want the same ones.

Off unless begun: a training alone has no use for the images that it no longer needs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

from torch import Tensor

__all__ = ["Kept", "keep", "kept"]

Decoded = tuple[Tensor, Tensor]


class Kept:
    """The last sets that were asked for, as many as fit.

    Arguments:
        budget: Bytes of pixels.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._sets: OrderedDict[Hashable, Decoded] = OrderedDict()

    def once(self, key: Hashable, decode: Callable[[], Decoded]) -> Decoded:
        """What was decoded under this key before, or else now; neither tensor is to be changed."""
        if key not in self._sets:
            self._sets[key] = decode()
        self._sets.move_to_end(key)
        while len(self._sets) > 1 and self.nbytes > self.budget:
            self._sets.popitem(last=False)
        return self._sets[key]

    @property
    def nbytes(self) -> int:
        """Of all pixels that are kept."""
        return sum(images.nbytes for images, _ in self._sets.values())


_KEPT: list[Kept] = []


def keep(budget: int = 2**31) -> None:
    """From now on, keep decoded images in this process."""
    if not _KEPT:
        _KEPT.append(Kept(budget))


def kept() -> Kept | None:
    """What this process keeps, if it does."""
    return _KEPT[0] if _KEPT else None
