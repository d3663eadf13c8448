"""``outskirts serve``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro

from ..bounds import Between, Count, Natural, NonNegative, Positive
from ..serving import Computing, Limits, Place, Waits, serve
from .console import Command, parse, say

__all__ = ["COMMAND", "main"]

#: The environment variable that holds the key, so that it is in no list of processes.
_KEY = "OUTSKIRTS_API_KEY"


@dataclass(frozen=True, kw_only=True)
class Serve(Command):
    """Serve guards over HTTP: verdicts on pictures, a page for people, and numbers for Prometheus."""

    examples: ClassVar[tuple[str, ...]] = ("outskirts serve guards/photos --port 8000",)

    guards: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="GUARD [GUARD ...]")]
    """Folders of guards. The first is meant where a request names none. A folder that changes is loaded again."""
    host: str = "127.0.0.1"
    """Address to listen at. The default is seen by this machine alone."""
    port: Natural = 8000
    """Port to listen at; 0 for one that is free."""
    train: str | None = None
    """Training images of the guard, as a spec. The page shows the nearest of them beside each picture."""
    engine: Literal["torch", "onnx"] = "torch"
    """What runs the network: torch, or ONNX Runtime."""
    workers: Count = 1
    """How many processes compute, at least 1; each has its share of the processors."""
    device: str = "auto"
    """Device of torch: auto, cpu, cuda or mps."""
    max_batch: Count = 32
    """Pictures that are computed together, at most. With 1, scores have the bits of those of predict on one picture;
    the last bits can depend on the batch."""
    max_wait_ms: NonNegative = 2
    """Milliseconds that a picture waits for others that are on their way, at most."""
    max_queue: Count = 512
    """Pictures that wait, at most; more are refused with the status 429."""
    max_images: Count = 64
    """Pictures of a request, at most."""
    max_body_mb: Positive = 32
    """Megabytes of a request, at most."""
    max_megapixels: Positive = 50
    """Megapixels of a picture, at most."""
    timeout: Positive = 30
    """Seconds that a request has, at most."""
    cors: tuple[str, ...] = ()
    """Other sites whose pages may ask, such as https://example.org. Default: none."""
    alpha: Between = 0.01
    """Probability, between 0 and 1, that the watch over a guard ever raises an alarm while nothing has changed."""
    state: Path | None = None
    """Folder that keeps what the watches know, so that the next call goes on where this one stood."""
    any_version: bool = False
    """Load guards that were saved with other versions of torch and the like, if their features are the same."""

    def __call__(self) -> None:
        pixels, body = round(1e6 * self.max_megapixels), round(2**20 * self.max_body_mb)
        serve(
            self.guards,
            place=Place(self.host, self.port, os.environ.get(_KEY, ""), self.cors),
            computing=Computing(self.engine, self.device, None, self.any_version, pixels, self.train),
            waits=Waits(self.max_batch, self.max_wait_ms / 1000, self.max_queue),
            limits=Limits(body, self.max_images, seconds=self.timeout),
            workers=self.workers,
            alpha=self.alpha,
            state=self.state,
            say=say,
        )


COMMAND = Serve


def main(arguments: Sequence[str]) -> None:
    """Serve until told to end."""
    parse(Serve, "serve", arguments)()
