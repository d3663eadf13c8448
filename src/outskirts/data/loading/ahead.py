"""Batches of an image set, decoded in threads while earlier ones are used."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing

import torch
from torch import Tensor

from ..imageset import ImageSet
from ..threads import BLOCK, attempt, in_order, threads_here
from ..transform import Transform

__all__ = ["batches"]

#: No batch goes over a multiple of so many bytes of pixels, nor are more of them kept under one name.
_PART = 2**28

#: Bytes of pixels that one thread decodes at a time.
_JOB = 2**23


def batches(
    image_set: ImageSet, transform: Transform, size: int, skip_corrupt: bool = False, threads: int | None = None
) -> Generator[tuple[Tensor, Tensor], None, None]:
    """All images of a set, in order and brought to one size as by `resident`, a batch at a time.

    In memory are the batch that is in use and as many images as two more have, or two jobs for each thread if that is
    more. Close it where it may not be read to its end; see `in_order`. Where the process keeps decoded images
    (`cached_images`), those of a set that was read to its end are kept. Sets that are not images are read a part at a
    time.

    Arguments:
        image_set: Is told in `skipped` what was left out, once all is read.
        transform: Brings each image to one size, by its method `host`.
        size: Images of a batch; fewer where a part of 256 MB ends.
        skip_corrupt: Leave corrupt images out, rather than stop at the first.
        threads: Number of threads that decode at once; see `threads_here`.

    Yields:
        Images, uint8 [B, C, S, S], and their positions in the set, int64 [B]; without any image only if all of them are
        corrupt.

    Raises:
        CorruptImage: At the first image that cannot be decoded, after the batches before it.
    """
    # The last bits of a result can depend on the batch; these are the batches of earlier versions, too.
    rows = max(1, _PART // _nbytes(transform))
    place = image_set.place(transform, skip_corrupt=skip_corrupt)
    if not image_set.pictures or (place is not None and place[1] in place[0]):
        yield from _in_parts(image_set, transform, size, rows)
        return
    shape = transform.channels, transform.size, transform.size
    whole = None if place is None else torch.empty(len(image_set), *shape, dtype=torch.uint8)

    def decoded(job: range) -> tuple[range, Tensor, Tensor]:
        images = torch.empty(len(job), *shape, dtype=torch.uint8) if whole is None else whole[job.start : job.stop]
        # By NumPy, as torch would begin threads of its own for each of those that decode.
        pixels = images.numpy()

        def store(i: int) -> None:
            pixels[i - job.start] = transform.host(image_set.image(i, transform.reading)).numpy()

        return job, images, torch.tensor(attempt(store, job, skip_corrupt))

    count = len(image_set)
    threads = threads or threads_here()
    step = min(BLOCK, max(1, _JOB // _nbytes(transform)), size)
    most = 2 * max(threads, -(-size // step))
    skipped: list[str] = []
    held: list[tuple[Tensor, Tensor]] = []
    with closing(in_order(decoded, _jobs(count, rows, size, step), threads, most)) as results:
        for job, images, sound in results:
            places = torch.arange(job.start, job.stop)
            skipped += [image_set.name(i) for i, good in zip(job, sound.tolist()) if not good]
            held.append((images, places) if sound.all() else (images[sound], places[sound]))
            have = sum(len(places) for _, places in held)
            ready = have if job.stop % rows == 0 or job.stop == count else have // size * size
            if ready or len(skipped) == count:
                images, places = (torch.cat(column) for column in zip(*held))
                yield from zip(images[:ready].split(size), places[:ready].split(size))
                held = [(images[ready:], places[ready:])]
    image_set.skipped = skipped
    if place is not None and whole is not None:
        store, key = place
        store.cached(key, lambda: (whole, image_set.labels, image_set.pixel_keys, image_set.lost))


def _nbytes(transform: Transform) -> int:
    return transform.channels * transform.size**2


def _in_parts(image_set: ImageSet, transform: Transform, size: int, rows: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of what is not decoded, so many rows at a time; of tokens, no more of them are read from the disk."""
    kept, every = image_set.resident(transform)[0] if image_set.pictures else None, torch.arange(len(image_set))
    for places in every.split(rows):
        images = image_set.subset(places).resident(transform)[0] if kept is None else kept[places[0] : places[-1] + 1]
        yield from zip(images.split(size), places.split(size))
    image_set.skipped = []


def _jobs(count: int, rows: int, size: int, step: int) -> Iterator[range]:
    """Positions that one thread takes at a time, none of them of two batches of which no image is corrupt."""
    for first in range(0, count, rows):
        last = min(first + rows, count)
        for batch in range(first, last, size):
            end = min(batch + size, last)
            for start in range(batch, end, step):
                yield range(start, min(start + step, end))
