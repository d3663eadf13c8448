"""What Prometheus reads of a server."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..guard.records import Record
from .shelf import Served

__all__ = ["Measured", "Metrics"]

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
#: Classes that are shown before any of their images is rejected.
_CLASSES = 1000
_VERDICTS = {None: "unread", True: "accepted", False: "rejected"}
_OUTCOMES = {True: "loaded", False: "failed"}
_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The numbers of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own: dict[str, Any] = {"registry": self.registry, "namespace": "outskirts"}
        self._requests = Counter("requests", "Requests", ["address", "status"], **own)
        self._seconds = Histogram(
            "request_seconds", "Seconds from the head of a request to its answer", ["address"], buckets=_SECONDS, **own
        )
        self._images = Counter("images", "Images by what became of them", ["guard", "verdict"], **own)
        self._rejected = Counter("rejected", "Rejected images by predicted class", ["guard", "label"], **own)
        self._batch = Histogram("batch_images", "Images of a batch", buckets=_IMAGES, **own)
        self._batch_seconds = Histogram("batch_seconds", "Seconds of a batch", buckets=_SECONDS, **own)
        self._queue = Gauge("queue_images", "Images that wait for a process", **own)
        self._workers = Gauge("workers", "Processes that can compute", **own)
        self._restarts = Gauge("worker_restarts", "Processes that ended and were begun anew", **own)
        self._reloads = Counter("reloads", "Guards that were loaded again", ["guard", "outcome"], **own)
        self._evidence = Gauge("drift_e_value", "Evidence that more is rejected than promised", ["guard"], **own)
        self._alarm = Gauge("drift_alarm", "Whether this evidence has raised an alarm", ["guard"], **own)

    def follow(self, waiting: Callable[[], int], workers: Callable[[], int], restarts: Callable[[], int]) -> None:
        """Ask these for the numbers of now."""
        self._queue.set_function(waiting)
        self._workers.set_function(workers)
        self._restarts.set_function(restarts)

    def begin(self, served: Served) -> None:
        """Show the numbers of a guard, which are 0 until there is more: Prometheus sees no first step from nothing."""
        for verdict in _VERDICTS.values():
            self._images.labels(served.name, verdict)
        for outcome in _OUTCOMES.values():
            self._reloads.labels(served.name, outcome)
        for label in served.about["classes"][:_CLASSES]:
            self._rejected.labels(served.name, label)
        self.watch(served)

    def request(self, address: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        self._requests.labels(address, status).inc()
        self._seconds.labels(address).observe(seconds)

    def batch(self, images: int, seconds: float) -> None:
        """Count a batch that was computed."""
        self._batch.observe(images)
        self._batch_seconds.observe(seconds)

    def rows(self, served: Served, rows: Sequence[Record]) -> None:
        """Count the images of rows, which the guard's watch has seen."""
        for row in rows:
            known = _VERDICTS[row.get("accepted")]
            self._images.labels(served.name, known).inc()
            if known == "rejected":
                self._rejected.labels(served.name, row["label"] or "").inc()
        self.watch(served)

    def watch(self, served: Served) -> None:
        """Show what the guard's watch knows."""
        known = served.drift()
        self._evidence.labels(served.name).set(known["e_value"])
        self._alarm.labels(served.name).set(known["alarm"])

    def reload(self, name: str, sound: bool) -> None:
        """Count a guard that was loaded again, or could not be."""
        self._reloads.labels(name, _OUTCOMES[sound]).inc()

    def text(self) -> bytes:
        """All numbers, in the text format of Prometheus."""
        return generate_latest(self.registry)


class Measured:
    """An application whose requests are counted.

    Arguments:
        app: The application.
        metrics: What counts them.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.monotonic(), 500

        async def seen(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self.app(scope, receive, seen)
        finally:
            # By the address as it is declared: those that do not exist are counted together.
            address = getattr(scope.get("route"), "path", "other")
            self.metrics.request(address, status, time.monotonic() - start)
