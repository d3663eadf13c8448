"""Work on the images of a set in threads, which decoders leave free to run beside each other."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import TypeVar

import torch
from torch import Tensor

from .decode import CorruptImage

__all__ = ["BLOCK", "Done", "attempt", "attempt_all", "in_order", "threads_here", "with_remedy"]

J = TypeVar("J")
R = TypeVar("R")

#: Called now and then with the number of images done.
Done = Callable[[int], object]

#: Images that one thread takes at a time: futures are costly beside a small image.
BLOCK = 64


def threads_here() -> int:
    """How many work at once unless it is said: the number of processors, at most 8."""
    return min(8, os.cpu_count() or 1)


def in_order(
    work: Callable[[J], R], jobs: Iterable[J], threads: int | None = None, most: int | None = None
) -> Generator[R, None, None]:
    """What `work` gives for each job, in their order, done in threads while earlier results are used.

    Close it (`contextlib.closing`) where it may not be read to its end: then its threads end with the jobs that they
    are at, and no other is begun.

    Arguments:
        work: Called in a thread; what it raises is raised here when its turn comes.
        jobs: Drawn by whoever reads the results, each when it is begun.
        threads: Number of threads; see `threads_here`.
        most: Jobs that are begun and not yet read, at any time; all of them unless given.
    """
    pool = ThreadPoolExecutor(threads or threads_here())
    begun: deque[Future[R]] = deque()
    try:
        for job in jobs:
            begun.append(pool.submit(work, job))
            if len(begun) == most:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def with_remedy(error: CorruptImage) -> CorruptImage:
    """An error of an image that cannot be decoded, with what helps."""
    return CorruptImage(f"{error} Mend or remove it, or leave out such images with skip_corrupt (--skip-corrupt).")


def attempt(work: Callable[[int], object], positions: Iterable[int], skip_corrupt: bool) -> list[bool]:
    """Do `work` on some positions; for each, whether the image was sound.

    Arguments:
        work: Called with a position; may raise `CorruptImage`.
        positions: One after the other.
        skip_corrupt: Go on after a corrupt image, rather than raise.
    """
    sound = []
    for i in positions:
        try:
            work(i)
        except CorruptImage as error:
            if not skip_corrupt:
                raise with_remedy(error) from error
            sound.append(False)
        else:
            sound.append(True)
    return sound


def attempt_all(
    work: Callable[[int], object],
    count: int,
    skip_corrupt: bool,
    threads: int | None = None,
    progress: Done | None = None,
) -> Tensor:
    """Do `work` on the positions 0 to `count` - 1, in threads.

    Arguments:
        work: Called with a position; may raise `CorruptImage`.
        count: Number of positions.
        skip_corrupt: Go on after a corrupt image, rather than raise.
        threads: Number of threads; see `threads_here`.
        progress: Told how many are done.

    Returns:
        bool [count], false where the image was corrupt.
    """
    sound: list[bool] = []
    blocks = (range(i, min(i + BLOCK, count)) for i in range(0, count, BLOCK))
    with closing(in_order(lambda block: attempt(work, block, skip_corrupt), blocks, threads)) as done:
        for of_block in done:
            sound += of_block
            if progress is not None:
                progress(len(sound))
    return torch.tensor(sound, dtype=torch.bool)
