"""The processes that compute, each with a thread here that gives it batches and takes their rows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ..errors import OutskirtsError
from ..telling import Say
from .options import Computing
from .waiting import Waiting, WaitingImage
from .worker import Batch, Failed, Ready, Rows, work

__all__ = ["Lost", "Workers"]

#: Seconds between two attempts to begin a process that does not begin.
_PATIENCE = 5.0
#: Seconds that a process has to end by itself.
_END = 10.0


class Lost(Exception):
    """An image ended the process that looked at it."""


@dataclass(frozen=True)
class _Process:
    """A process, and the connection to it."""

    process: Any
    connection: Connection

    @classmethod
    def begun(cls, folders: Mapping[str, Path], options: Computing) -> _Process:
        context = get_context("forkserver")
        mine, its = context.Pipe()
        process = context.Process(target=work, args=(its, dict(folders), options), daemon=True)
        process.start()
        # With this end closed, it is told when the process has ended.
        its.close()
        return cls(process, mine)

    def require_ready(self) -> None:
        """Wait until the guards are loaded.

        Raises:
            OutskirtsError: If they cannot be.
        """
        try:
            answer = self.connection.recv()
        except (EOFError, OSError):
            answer = Failed("a process that computes ended while it loaded the guard; is there enough memory?")
        if not isinstance(answer, Ready):
            self.end()
            raise OutskirtsError(answer.sentence)

    def rows(self, batch: Batch) -> Rows | Failed:
        """What it says of a batch.

        Raises:
            EOFError, OSError: If it has ended.
        """
        self.connection.send(batch)
        answer: Rows | Failed = self.connection.recv()
        return answer

    def end(self) -> None:
        self.connection.close()
        self.process.join(_END)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


class Workers:
    """Processes that compute, which are begun anew where they end.

    Arguments:
        folders: Folder of each guard, by name.
        options: How verdicts are computed.
        count: How many processes there are.
        waiting: Images that wait for them.
        say: Told of processes that ended.
    """

    def __init__(self, folders: Mapping[str, Path], options: Computing, count: int, waiting: Waiting, say: Say) -> None:
        self.folders, self.options, self.waiting, self.say = dict(folders), options, waiting, say
        #: Called with the images and the seconds of each batch.
        self.batch_done: Callable[[int, float], None] = lambda images, seconds: None
        #: How often a process was begun anew.
        self.restarts = 0
        self._closing = threading.Event()
        self._next: dict[int, _Process] = {}
        self._lock = threading.Lock()
        begun = [_Process.begun(folders, options) for _ in range(count)]
        try:
            for process in begun:
                process.require_ready()
        except OutskirtsError:
            for process in begun:
                process.end()
            raise
        self._slots = begun
        self._threads = [threading.Thread(target=self._serve, args=(slot,), daemon=True) for slot in range(count)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def alive(self) -> int:
        """How many processes can compute."""
        return sum(process.process.is_alive() for process in self._slots)

    def reload(self) -> None:
        """Load all guards again, in new processes that take the place of the old ones between two batches.

        Raises:
            OutskirtsError: If a guard cannot be loaded; then the old ones stay.
        """
        begun: list[_Process] = []
        try:
            # One after the other, so that memory has room for one more.
            for _ in self._slots:
                process = _Process.begun(self.folders, self.options)
                process.require_ready()
                begun.append(process)
        except OutskirtsError:
            for process in begun:
                process.end()
            raise
        with self._lock:
            self._next |= dict(enumerate(begun))

    def close(self) -> None:
        """End all processes, each after its batch."""
        self._closing.set()
        for thread in self._threads:
            thread.join()
        for process in [*self._slots, *self._next.values()]:
            process.end()

    def _serve(self, slot: int) -> None:
        while not self._closing.is_set():
            images = self.waiting.take()
            self._renew(slot)
            if images:
                self._compute(slot, images)
            elif not self._slots[slot].process.is_alive():
                self._ended(slot, [])

    def _renew(self, slot: int) -> None:
        """Let the process that a reload began take over."""
        with self._lock:
            new = self._next.pop(slot, None)
        if new is not None:
            old, self._slots[slot] = self._slots[slot], new
            old.end()

    def _compute(self, slot: int, images: list[WaitingImage]) -> None:
        start = time.monotonic()
        first = images[0]
        batch = Batch(first.guard, [image.upload for image in images], first.top, first.near)
        try:
            answer = self._slots[slot].rows(batch)
        except (EOFError, OSError):
            self._ended(slot, images)
            return
        seconds = time.monotonic() - start
        self.waiting.done(len(images), seconds)
        self.batch_done(len(images), seconds)
        for place, image in enumerate(images):
            with suppress(InvalidStateError):  # Nobody waits for it any more.
                if isinstance(answer, Failed):
                    image.answer.set_exception(OutskirtsError(answer.sentence))
                else:
                    image.answer.set_result((answer.rows[place], answer.version))

    def _ended(self, slot: int, images: list[WaitingImage]) -> None:
        """Begin a process anew. Its images wait again, each for a batch of its own: one of them may have ended it."""
        ended = self._slots[slot]
        ended.end()
        self.say(f"A process that computes has ended (exit code {ended.process.exitcode}). Another one begins.")
        for image in images:
            image.lost += image.alone
            image.alone = True
            if image.lost > 1:
                with suppress(InvalidStateError):
                    image.answer.set_exception(Lost())
        self.waiting.again([image for image in images if image.lost <= 1])
        self.restarts += 1
        while not self._closing.is_set():
            process = _Process.begun(self.folders, self.options)
            try:
                process.require_ready()
            except OutskirtsError as error:
                self.say(f"A process that computes cannot begin: {error}")
                self._closing.wait(_PATIENCE)
            else:
                self._slots[slot] = process
                return
