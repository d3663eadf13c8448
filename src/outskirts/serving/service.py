"""Verdicts on the images of requests, from guards that may change while it runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from threading import Event

from ..errors import OutskirtsError, unknown
from ..guard.records import Record
from ..telling import Say
from .metrics import Metrics
from .options import Limits
from .problems import Problem
from .shelf import Served, stamp_of
from .uploads import Upload
from .waiting import Full, Waiting, WaitingImage
from .workers import Lost, Workers

__all__ = ["Service"]

#: Seconds between two looks at the folders of guards.
_LOOK = 2.0
#: Seconds between two writings of what watches know.
_KEEP = 30.0


class Service:
    """The guards, and the processes that compute.

    Arguments:
        folders: Folder of each guard, by name; the first is the one that is meant where none is named.
        workers: The processes.
        waiting: Images that wait for them.
        limits: What a request may be.
        alpha: Probability of a false alarm of each watch.
        state: Folder for what watches know; nothing is kept unless given.
        say: Told of guards that were loaded again, and of watches that go on.
    """

    def __init__(
        self,
        folders: Mapping[str, Path],
        workers: Workers,
        waiting: Waiting,
        limits: Limits,
        alpha: float,
        state: Path | None,
        say: Say,
    ) -> None:
        self.folders, self.workers, self.waiting, self.limits = folders, workers, waiting, limits
        self.alpha, self.state, self.say = alpha, state, say
        #: Set when the server ends.
        self.ending = Event()
        self.metrics = Metrics()
        self.metrics.follow(lambda: len(waiting), lambda: workers.alive, lambda: workers.restarts)
        workers.batch_done = self.metrics.batch
        self.guards = {name: self._opened(name, resume=True) for name in folders}
        for served in self.guards.values():
            self.metrics.begin(served)

    @property
    def ready(self) -> bool:
        """Whether any process can compute."""
        return self.workers.alive > 0

    def guard(self, name: str | None) -> Served:
        """The guard of this name, or the first.

        Raises:
            Problem: If there is none.
        """
        if name is None:
            return next(iter(self.guards.values()))
        if name not in self.guards:
            raise Problem(HTTPStatus.NOT_FOUND, str(unknown("guard", name, self.guards)))
        return self.guards[name]

    async def rows(
        self, served: Served, uploads: Sequence[Upload], until: float, top: int = 1, near: int = 0
    ) -> tuple[list[Record], str]:
        """The rows of images, as `outskirts predict` writes them, and the version of the guard that gave them.

        Arguments:
            served: The guard.
            uploads: The images.
            until: When the rows must be there, by the clock of `time.monotonic`.
            top: How many of the most probable classes are given.
            near: How many of the nearest training images are given.

        Raises:
            Problem: If there are too many images waiting, it takes too long, or a process ends at one of them.
        """
        if near and self.workers.options.train is None:
            raise Problem(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "This server knows no training images, so leave out near; it is told them by --train SPEC.",
            )
        while True:
            images = [WaitingImage(served.name, upload, top, near) for upload in uploads]
            answers = await self._answers(images, until)
            versions = {version for _, version in answers}
            if len(versions) == 1:  # Otherwise the guard has changed in between.
                break
        rows, version = [row for row, _ in answers], versions.pop()
        served = self.guards[served.name]
        if version == served.version:
            served.take(rows)
            self.metrics.rows(served, rows)
        return rows, version

    async def _answers(self, images: Sequence[WaitingImage], until: float) -> list[tuple[Record, str]]:
        try:
            self.waiting.add(images)
            async with asyncio.timeout(until - time.monotonic()):
                return [await asyncio.wrap_future(image.answer) for image in images]
        except Full as full:
            raise Problem(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"Too many images are waiting; try again in {full.seconds} s.",
                {"Retry-After": str(full.seconds)},
            ) from full
        except TimeoutError as error:
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE, "The verdicts took too long; try again later.", {"Retry-After": "5"}
            ) from error
        except Lost as error:
            said = "One of these images ended the process that looked at it."
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, said) from error
        except OutskirtsError as error:
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error
        finally:
            for image in images:
                image.answer.cancel()

    async def look(self) -> None:
        """Load guards again whose folder has changed, for ever."""
        tried = {name: served.stamp for name, served in self.guards.items()}
        while True:
            await asyncio.sleep(_LOOK)
            for name, folder in self.folders.items():
                stamp = stamp_of(folder)
                if stamp and stamp != tried[name]:
                    tried[name] = stamp
                    await asyncio.to_thread(self._reload, name)

    async def keep(self) -> None:
        """Write what watches know now and then, for ever."""
        while True:
            await asyncio.sleep(_KEEP)
            self.keep_now()

    def keep_now(self) -> None:
        """Write what watches know."""
        for served in self.guards.values():
            if (file := self._state_of(served.name)) is not None:
                served.keep(file)

    def _reload(self, name: str) -> None:
        try:
            served = self._opened(name, resume=False)
            self.workers.reload()
        except OutskirtsError as error:
            self.metrics.reload(name, sound=False)
            self.say(f"{name} has changed and cannot be loaded: {error} The one of before stays.")
            return
        self.guards[name] = served
        self.metrics.reload(name, sound=True)
        self.metrics.watch(served)
        self.say(f"{name} has changed and is loaded again; its watch begins anew.")

    def _opened(self, name: str, resume: bool) -> Served:
        return Served.opened(name, self.folders[name], self.alpha, self._state_of(name) if resume else None, self.say)

    def _state_of(self, name: str) -> Path | None:
        return None if self.state is None else self.state / f"{name}.json"
