"""Images that wait for a process, first come, first served, and how they become batches."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from ..guard.records import Record
from .options import Waits
from .uploads import Upload

__all__ = ["Full", "Waiting", "WaitingImage"]

#: Seconds after which `take` returns without any image, so that who waits can look at other things.
_PAUSE = 0.5
#: What a batch counts for in the mean speed.
_SHARE = 0.2


class Full(Exception):
    """There is no room for more images.

    Arguments:
        seconds: After so many there may be.
    """

    def __init__(self, seconds: int) -> None:
        super().__init__()
        self.seconds = seconds


@dataclass(eq=False)
class WaitingImage:
    """An image that waits for its row.

    Arguments:
        guard: Name of the guard.
        upload: The image.
        top: How many of the most probable classes are given.
        near: How many of the nearest training images are given.
        answer: The row, and the version of the guard that gave it, when they are there.
        since: When it began to wait, in seconds of a clock that never goes back.
        alone: Whether it gets a batch of its own, since a process ended when it had this image among others.
        lost: How many processes ended when they had this image alone.
    """

    guard: str
    upload: Upload
    top: int
    near: int = 0
    answer: Future[tuple[Record, str]] = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)
    alone: bool = False
    lost: int = 0

    def goes_with(self, other: WaitingImage) -> bool:
        """Whether both can be in one batch."""
        alike = (self.guard, self.top, self.near) == (other.guard, other.top, other.near)
        return alike and not (self.alone or other.alone)


class Waiting:
    """The images. All methods may be called in any thread.

    Arguments:
        waits: When images go to a process.
    """

    def __init__(self, waits: Waits) -> None:
        self.waits = waits
        self._images: deque[WaitingImage] = deque()
        self._changed = threading.Condition()
        self._coming = 0
        self._rate = 0.0

    def __len__(self) -> int:
        return len(self._images)

    def coming(self, change: int) -> None:
        """Say that so many more requests are being read, for whose images a batch may wait; or fewer."""
        with self._changed:
            self._coming += change
            self._changed.notify()

    def add(self, images: Sequence[WaitingImage]) -> None:
        """Let images wait.

        Raises:
            Full: If there is no room; then none of them waits.
        """
        with self._changed:
            if len(self._images) + len(images) > self.waits.queue:
                wait = len(self._images) / self._rate if self._rate else 1
                raise Full(min(60, max(1, math.ceil(wait))))
            self._images.extend(images)
            self._changed.notify()

    def again(self, images: Sequence[WaitingImage]) -> None:
        """Let images wait once more, before all others."""
        with self._changed:
            self._images.extendleft(reversed(images))
            self._changed.notify()

    def take(self) -> list[WaitingImage]:
        """A batch, or nothing after a short time."""
        with self._changed:
            self._changed.wait_for(lambda: self._images, _PAUSE)
            while self._images:
                first = self._images[0]
                left = first.since + self.waits.seconds - time.monotonic()
                if left <= 0 or first.alone or not self._coming or self._alike(first) >= self.waits.batch:
                    break
                self._changed.wait(left)
            return self._taken()

    def done(self, images: int, seconds: float) -> None:
        """Say how long a batch took, from which `Full.seconds` is reckoned."""
        with self._changed:
            rate = images / max(seconds, 1e-6)
            self._rate = rate if not self._rate else (1 - _SHARE) * self._rate + _SHARE * rate

    def _alike(self, first: WaitingImage) -> int:
        return sum(first is other or first.goes_with(other) for other in self._images)

    def _taken(self) -> list[WaitingImage]:
        batch: list[WaitingImage] = []
        kept: deque[WaitingImage] = deque()
        while self._images and len(batch) < self.waits.batch:
            image = self._images.popleft()
            if batch and not batch[0].goes_with(image):
                kept.append(image)
            elif not image.answer.cancelled():
                batch.append(image)
        self._images.extendleft(reversed(kept))
        return batch
