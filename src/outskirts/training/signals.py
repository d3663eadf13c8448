"""Requests to stop, from the keyboard or from a scheduler."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["stop_requests"]


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or SIGTERM into a request, so that what is done is not cut in two; a second one stops.

    A request that nobody has acted upon, by an exception, is a Ctrl-C or SIGTERM again when the block ends.
    """
    requests: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def request(signum: int, frame: object) -> None:
        requests.append(signum)
        if len(requests) > 1:
            raise KeyboardInterrupt

    previous = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(requests)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if requests:
        signal.raise_signal(requests[0])
