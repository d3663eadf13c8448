"""Decoded images that a process keeps, for runs that want the same ones.

Off unless begun: a training alone has no use for the images that it no longer needs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["ImageCache", "cached_images", "current_cache"]

#: Images, labels, the keys of the pixels, and what each image has lost.
Decoded = tuple[Tensor, Tensor, NDArray[np.void], NDArray[np.uint8]]


class ImageCache:
    """The last sets that were asked for, as many as fit.

    Arguments:
        budget: Bytes of pixels.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._sets: OrderedDict[Hashable, Decoded] = OrderedDict()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._sets

    def cached(self, key: Hashable, decode: Callable[[], Decoded]) -> Decoded:
        """What was decoded under this key before, or else now; none of it is to be changed."""
        if key not in self._sets:
            self._sets[key] = decode()
        self._sets.move_to_end(key)
        while len(self._sets) > 1 and self.nbytes > self.budget:
            self._sets.popitem(last=False)
        return self._sets[key]

    @property
    def nbytes(self) -> int:
        """Bytes of all pixels that are kept."""
        return sum(images.nbytes for images, *_ in self._sets.values())


_CACHES: list[ImageCache] = []


@contextmanager
def cached_images(budget: int = 2**31) -> Iterator[None]:
    """A block in which this process keeps decoded images."""
    _CACHES.append(ImageCache(budget))
    try:
        yield
    finally:
        _CACHES.pop()


def current_cache() -> ImageCache | None:
    """The cache of this process, or None outside of `cached_images`."""
    return _CACHES[-1] if _CACHES else None
