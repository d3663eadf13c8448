"""A process that computes verdicts, one batch at a time, and nothing else.

It ends when the process that began it does: then nobody holds the other end of its connection.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from ..errors import OutskirtsError, reason
from ..guard.records import Record
from .engines import Engine, make_engine
from .options import Computing
from .uploads import Upload

__all__ = ["Batch", "Failed", "Ready", "Rows", "work"]


@dataclass(frozen=True)
class Batch:
    """Images to look at.

    Arguments:
        guard: Name of the guard.
        uploads: The images.
        top: How many of the most probable classes are given.
        near: How many of the nearest training images are given.
    """

    guard: str
    uploads: Sequence[Upload]
    top: int
    near: int


@dataclass(frozen=True)
class Ready:
    """The guards are loaded."""


@dataclass(frozen=True)
class Rows:
    """The rows of a batch, as `outskirts predict` writes them.

    Arguments:
        rows: The rows.
        version: What tells the guard that gave them from another of its name.
    """

    rows: Sequence[Record]
    version: str


@dataclass(frozen=True)
class Failed:
    """A guard could not be loaded, or a batch could not be computed.

    Arguments:
        sentence: What is wrong.
    """

    sentence: str


def work(connection: Connection, folders: Mapping[str, Path], options: Computing) -> None:
    """Load guards, then answer each `Batch` with `Rows` or `Failed`.

    Arguments:
        connection: To the process that serves.
        folders: Folder of each guard, by name.
        options: How verdicts are computed.
    """
    # Only the process that serves decides when this one ends, so that no image is lost that it has taken.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(options.threads or 1)
    engines: dict[str, Engine] = {}
    try:
        for name, folder in folders.items():
            engines[name] = make_engine(folder, options)
    except Exception as error:
        connection.send(Failed(_sentence(error)))
        return
    connection.send(Ready())
    while True:
        try:
            batch = connection.recv()
        except EOFError:
            return
        try:
            engine = engines[batch.guard]
            answer: Rows | Failed = Rows(engine(batch.uploads, batch.top, batch.near), engine.version)
        except Exception as error:
            answer = Failed(_sentence(error))
        connection.send(answer)


def _sentence(error: Exception) -> str:
    return str(error) if isinstance(error, OutskirtsError) else f"{type(error).__name__}: {reason(error)}"
