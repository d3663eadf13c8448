"""A worker of a cluster: it has a guard and the images, and writes the verdicts on one block after the other."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch

from ...data.imageset import ImageSet
from ...errors import OutskirtsError
from ...files import digest
from ..guard import Guard
from ..opening import opened
from ..predicting import rows_of
from ..records import Record
from .verdict_folder import VerdictFolder

__all__ = ["Task", "Worker", "block_of", "names_digest"]

#: How often a block is begun that ends its worker each time: an image in it may do so at every attempt.
_ATTEMPTS = 5


@dataclass(frozen=True, kw_only=True)
class Task:
    """What all workers of a call are given.

    Arguments:
        call: Name of the call.
        folder: Working folder, from which relative paths start.
        guard: Folder of the guard.
        strict: Refuse other versions of packages than those that the guard was saved with.
        images: What to open.
        out: Folder of the verdicts.
        header: What they are of.
        device: Device of the network.
        threads: Threads of the processor that each worker computes with.
    """

    call: str
    folder: str
    guard: str
    strict: bool
    images: tuple[str, ...]
    out: str
    header: Mapping[str, Any]
    device: str
    threads: int = 1


class Worker:
    """Looks at blocks of images. Guard and images are opened once, with the first block.

    Arguments:
        task: What is asked for.
    """

    def __init__(self, task: Task) -> None:
        self.task, self.folder = task, VerdictFolder(task.out)
        self.known: tuple[Guard, ImageSet] | None = None

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[str]]:
        """What came of some blocks, as JSON: ``rows``, what is counted of each image, or ``failed``, a sentence.

        Arguments:
            batch: ``block``, numbers of blocks, and ``names``, what `names_digest` gives for each.
        """
        return {"told": [json.dumps(self._told(*one)) for one in zip(batch["block"], batch["names"])]}

    def _told(self, block: Any, names: Any) -> dict[str, Any]:
        try:
            return {"block": int(block), "rows": self._looked_at(int(block), str(names))}
        except OutskirtsError as error:
            # As an error of Ray's, it would come with the traces of three processes.
            return {"block": int(block), "failed": str(error)}

    def _looked_at(self, block: int, names: str) -> list[Record]:
        if self.folder.has(block):  # Its worker ended before it could say so.
            return self.folder.rows(block)
        guard, images = self._opened()
        chunk = block_of(images, block, self.task.header["chunk"])
        if names_digest(chunk) != names:
            raise OutskirtsError(
                "A worker of the cluster finds other images than this process. All machines must see the same images "
                "by the same paths."
            )
        given = (block, self.task.call, _ATTEMPTS)
        if self.folder.attempts(*given) == _ATTEMPTS:
            raise OutskirtsError(
                f"{_ATTEMPTS} workers ended at the {len(chunk):,} images from {chunk.name(0)} on, one after the "
                "other. One of these images may end the process, or there is too little memory; look at them with "
                "--engine here."
            )
        rows = rows_of(guard, chunk, self.task.header["top"], self.task.device)
        self.folder.write(block, rows, self.task.header["top"])
        self.folder.ended(*given)
        return [{name: row[name] for name in ("p_value", "accepted", "error") if name in row} for row in rows]

    def _opened(self) -> tuple[Guard, ImageSet]:
        if self.known is None:
            with suppress(OSError):  # Where it is not, only absolute paths are found.
                os.chdir(self.task.folder)
            torch.set_num_threads(self.task.threads)
            guard, images = Guard.load(self.task.guard, self.task.strict), opened(self.task.images)
            if guard.fingerprint != self.task.header["guard"] or len(images) != self.task.header["images"]:
                raise OutskirtsError(
                    f"A worker of the cluster finds another guard in {self.task.guard}, or {len(images):,} images "
                    f"instead of {self.task.header['images']:,}. All machines must see the same files."
                )
            self.known = guard, images
        return self.known


def block_of(images: ImageSet, number: int, chunk: int) -> ImageSet:
    """The images of a block.

    Arguments:
        images: All images.
        number: Number of the block, from 0.
        chunk: Images of a block; the last one has what is left.
    """
    return images.subset(torch.arange(number * chunk, min((number + 1) * chunk, len(images))))


def names_digest(images: ImageSet) -> str:
    """A hash of the names of some images, by which two machines know that they mean the same ones."""
    return digest(*(os.fsencode(images.name(place)) for place in range(len(images))))
