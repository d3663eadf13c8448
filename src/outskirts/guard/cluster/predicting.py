"""Verdicts on images by many workers, in a folder of Parquet files; a call that was stopped goes on where it was."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from ...arguments import check_arguments
from ...bounds import Count
from ...data.imageset import ImageSet
from ...errors import OutskirtsError
from ...paths import home_expanded
from ...telling import Progress, Say, nobody, silence
from ...texts import counted
from ..guard import Guard
from ..judging import require_top
from ..opening import opened
from ..predicting import Summary, header_of
from ..records import Record, require_pyarrow
from .ray_cluster import Share, connected, quiet_data, require_ray, shared
from .verdict_folder import VerdictFolder
from .worker import Task, Worker, block_of, names_digest

__all__ = ["predict_with_ray"]


@check_arguments
def predict_with_ray(
    guard: Path | str,
    images: str | Path | Sequence[str | Path],
    out: Path | str,
    *,
    top: Count = 1,
    device: str = "auto",
    workers: Count | None = None,
    strict: bool = True,
    say: Say = silence,
    progress: Progress = nobody,
) -> Summary:
    """Write what a guard says of images to a folder of Parquet files, with the workers of a Ray cluster.

    The cluster is the one that this process or ``RAY_ADDRESS`` is connected to, or one that is started on this machine.
    Each worker opens the guard and the images, so all machines must see both by the same paths. The verdicts on the
    first thousand images are in ``part-0000000.parquet``, and so on. When a worker dies, another does its part. The
    same call goes on after it was stopped, and looks at no image again whose part is there.

    Images are in the same batches as with `predict_to`, so that scores are the same. On a processor, the last bits of a
    score may depend on the number of threads.

    Arguments:
        guard: Folder of the guard.
        images: A path, a pattern or a spec, or a list of paths; each worker opens it.
        out: A new folder, or a URL that fsspec knows, such as ``s3://bucket/verdicts``; all machines must see it.
        top: How many of the most probable classes are given, at least 1.
        device: Device of the network: ``auto`` is a GPU where the cluster has some, else the processor.
        workers: Number of workers, at least 1; one for each GPU, or for each core where there is none, unless given.
        strict: Refuse other versions of packages than those that the guard was saved with.
        say: Told when it goes on, of the workers, and of images that cannot be read.
        progress: Told of the images that are done.

    Returns:
        How many images were accepted and rejected, with those of parts that were there.

    Raises:
        OutskirtsError: If the folder is finished, or was begun with other images, options or another guard; if there
            are not so many classes, or a worker sees other files than this process.
    """
    require_ray()
    require_pyarrow()
    texts = _texts(images)
    folder = VerdictFolder(out if "://" in str(out) else os.path.abspath(home_expanded(out)))
    if folder.files.protocol == "memory":
        raise OutskirtsError(f"{out} is in the memory of one process; name a folder that all workers see.")
    place = os.path.abspath(home_expanded(guard))
    loaded, shown = Guard.load(place, strict, say=say), opened(list(texts))
    require_top(loaded, top)
    task = Task(
        call=uuid4().hex[:8],
        folder=os.getcwd(),
        guard=place,
        strict=strict,
        images=texts,
        out=folder.place,
        header=header_of(loaded, shown, top),
        device=device,
    )
    with folder.only_writer():
        counts = _Counts(len(shown), say, progress)
        _complete(folder, task, shown, workers, counts)
        folder.finish({**asdict(counts.summary), "declared": None})
    return counts.summary


def _texts(images: Any) -> tuple[str, ...]:
    """What each worker opens."""
    several = [images] if isinstance(images, str | Path) else images
    if not isinstance(several, list | tuple) or not all(isinstance(one, str | Path) for one in several):
        raise OutskirtsError("Workers open the images by themselves; pass their path, their spec, or a list of paths.")
    return tuple(map(str, several))


def _complete(folder: VerdictFolder, task: Task, images: ImageSet, workers: int | None, counts: _Counts) -> None:
    """Let workers look at the blocks that are not there, and count the images of all."""
    chunk = task.header["chunk"]
    blocks = range(math.ceil(len(images) / chunk))
    done = folder.begin(dict(task.header))
    for number in sorted(done):
        counts.add(folder.rows(number), told=False)
    if done:
        counts.say(f"Going on after {counts.images:,} of {len(images):,} images.")
    left = [
        {"block": number, "names": names_digest(block_of(images, number, chunk))}
        for number in blocks
        if number not in done
    ]
    with closing(_looked_at(task, left, workers, counts.say)) as looked_at:
        for rows in looked_at if left else ():
            counts.add(rows)
    if lacking := len(set(blocks) - folder.numbers()):
        raise OutskirtsError(
            f"{counted(lacking, 'part')} that the workers have written cannot be seen here: {folder.place} must be one "
            "folder for all machines."
        )
    if counts.images != len(images):
        raise OutskirtsError(
            f"The parts in {folder.place} have {counts.images:,} rows, and there are {len(images):,} images: one was "
            "changed. Remove the folder to begin anew."
        )


class _Counts:
    """What is known of the images that are done."""

    def __init__(self, total: int, say: Say, progress: Progress) -> None:
        self.summary, self.total, self.say, self.progress = Summary(), total, say, progress

    @property
    def images(self) -> int:
        return self.summary.images + self.summary.unread

    def add(self, rows: Sequence[Record], told: bool = True) -> None:
        self.summary = self.summary.with_rows(rows)
        for row in rows:
            if told and "p_value" not in row:
                self.say(f"Could not be read: {row['error']}")
        self.progress("verdicts", self.images, self.total)


def _looked_at(
    task: Task, blocks: list[dict[str, Any]], workers: int | None, say: Say
) -> Generator[list[Record], None, None]:
    """What is counted of the images of each block, as they are done."""
    with connected(workers) as ray, quiet_data():
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        share = shared(nodes, workers, task.device)
        say(_sentence(share, len(blocks)))
        data = ray.data.from_items(blocks, override_num_blocks=len(blocks)).map_batches(
            Worker,
            batch_size=1,
            batch_format="numpy",
            compute=ray.data.ActorPoolStrategy(size=min(share.workers, len(blocks))),
            fn_constructor_args=(replace(task, device=share.device, threads=share.cores),),
            num_cpus=share.cores,
            num_gpus=share.gpus or None,
        )
        for told in data.iter_rows():
            record = json.loads(told["told"])
            if "failed" in record:
                raise OutskirtsError(record["failed"])
            yield record["rows"]


def _sentence(share: Share, blocks: int) -> str:
    """What the workers are, for people."""
    number = min(share.workers, blocks)
    on = "a GPU" if share.gpus == 1 else "a part of a GPU" if share.gpus else counted(share.cores, "core")
    waiting = f"; there is room for {share.room:,} now, and the others begin when there is more" * (number > share.room)
    return f"Ray: {counted(number, 'worker')} with {on} each{waiting}."
