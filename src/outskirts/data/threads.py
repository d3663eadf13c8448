"""Work on every image of a set at once."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from .decode import CorruptImage

__all__ = ["Progress", "for_each"]

#: Called now and then with the number of images done.
Progress = Callable[[int], object]

# Futures are costly beside a small image.
_BLOCK = 64


def for_each(
    work: Callable[[int], object],
    count: int,
    skip_corrupt: bool,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """Do `work` on the positions 0 to `count` - 1, in threads: decoders release the interpreter.

    Arguments:
        work: Called with a position; may raise `CorruptImage`.
        count: Of positions.
        skip_corrupt: Go on after a corrupt image, rather than raise.
        threads: How many; the number of processors, at most 8, unless given.
        progress: Told how many are done.

    Returns:
        bool [count], false where the image was corrupt.
    """
    sound = torch.ones(count, dtype=torch.bool)

    def run(block: range) -> int:
        for i in block:
            try:
                work(i)
            except CorruptImage as error:
                if not skip_corrupt:
                    raise CorruptImage(f"{error} Mend or remove it; skip_corrupt leaves such images out.") from error
                sound[i] = False
        return block.stop

    blocks = [range(i, min(i + _BLOCK, count)) for i in range(0, count, _BLOCK)]
    with ThreadPoolExecutor(threads or min(8, os.cpu_count() or 1)) as pool:
        for done in pool.map(run, blocks):
            if progress is not None:
                progress(done)
    return sound
