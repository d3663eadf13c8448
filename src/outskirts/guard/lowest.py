"""The images with the lowest p-values, of any number that come one after the other."""

from __future__ import annotations

import math
from typing import Any

from ..arguments import check_arguments
from ..bounds import Count
from ..data.imageset import ImageSet
from .records import Record, record_of
from .verdicts import Verdicts

__all__ = ["Lowest"]


@check_arguments
class Lowest:
    """Keeps the rows of the images that are least like the calibration images, and counts all.

    Arguments:
        n: How many rows are kept, at least 1.

    >>> few = Lowest(2)
    >>> for place, p in enumerate([0.5, 0.01, 0.2]):
    ...     few.take(place, {"file": str(place), "p_value": p, "accepted": p > 0.05, "score": -p})
    >>> [place for place, _ in few.rows()], few.images, few.rejected
    ([1, 2], 3, 1)
    """

    def __init__(self, n: Count) -> None:
        self.n = n
        self.images = self.rejected = self.unread = 0
        self._kept: list[tuple[Any, int, Record]] = []

    def take(self, place: int, row: Record) -> None:
        """Take the row of the image at a position of its set; one that could not be read is only counted."""
        if "p_value" not in row:
            self.unread += 1
            return
        self.images += 1
        self.rejected += not row["accepted"]
        score = row.get("score")
        key = (row["accepted"], row["p_value"], -(math.inf if score is None else score), place)
        self._kept.append((key, place, row))
        if len(self._kept) >= 2 * self.n + 100:
            self._cut()

    def take_all(self, images: ImageSet, verdicts: Verdicts) -> None:
        """Take verdicts on the images of a set, in order; those that could not be read have none."""
        left = iter(verdicts)
        verdict = next(left, None)
        for place in range(len(images)):
            if verdict is not None and verdict.file == images.name(place):
                self.take(place, record_of(verdict))
                verdict = next(left, None)
            else:
                self.unread += 1

    def rows(self) -> list[tuple[int, Record]]:
        """Positions and rows, the rejected ones first, and then by p-value; of equal ones, the largest score first."""
        self._cut()
        return [(place, row) for _, place, row in self._kept]

    def _cut(self) -> None:
        self._kept.sort(key=lambda kept: kept[0])
        del self._kept[self.n :]
