"""How a guard is served."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal

from ..arguments import check_arguments
from ..bounds import Count, Natural, NonNegative, Positive

__all__ = ["Computing", "Engine", "Limits", "Place", "Waits"]

#: What runs the network: torch, or the exported file in ONNX Runtime.
Engine = Literal["torch", "onnx"]


@check_arguments
@dataclass(frozen=True)
class Computing:
    """How the processes that compute do it.

    Arguments:
        engine: What runs the network.
        device: Device of torch: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        threads: Threads of each process; its share of the processors unless given.
        any_version: Load guards that were saved with other versions of torch and the like.
        pixels: Pixels that an image has at most.
        train: Spec of training images, of which requests may ask for the nearest.
    """

    engine: Engine = "torch"
    device: str = "auto"
    threads: Count | None = None
    any_version: bool = False
    pixels: Count = 50_000_000
    train: str | None = None


@check_arguments
@dataclass(frozen=True)
class Waits:
    """When images go to a process.

    Arguments:
        batch: Images of a batch, at most.
        seconds: How long an image waits for others that are on their way, at most.
        queue: Images that wait for a process, at most.
    """

    batch: Count = 32
    seconds: NonNegative = 0.002
    queue: Count = 512


@check_arguments
@dataclass(frozen=True)
class Limits:
    """What a request may be.

    Arguments:
        body: Bytes of its body, at most.
        images: Images of it, at most.
        depth: How deeply lists and objects lie in its JSON, at most.
        seconds: How long it takes, from its head to the answer, at most.
    """

    body: Count = 32 * 2**20
    images: Count = 64
    depth: Count = 8
    seconds: Positive = 30.0

    def until(self) -> float:
        """When a request ends that begins now, by the clock of `time.monotonic`."""
        return time.monotonic() + self.seconds


@check_arguments
@dataclass(frozen=True)
class Place:
    """Where a server is found.

    Arguments:
        host: Address that it listens at.
        port: Port; 0 for one that is free.
        key: What requests must show; nothing unless given.
        origins: Other sites whose pages may ask.
        drain: Seconds that requests have to end when the server ends.
    """

    host: str = "127.0.0.1"
    port: Natural = 8000
    key: str = field(default="", repr=False)
    origins: tuple[str, ...] = ()
    drain: Count = 60
