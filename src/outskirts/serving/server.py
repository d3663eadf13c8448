"""A server: it begins the processes that compute, answers requests, and ends when nothing is left to answer."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from threading import Event
from types import FrameType

import uvicorn

from ..telling import Say
from .app import make_app
from .options import Computing, Limits, Place, Waits
from .patience import Patient
from .service import Service
from .waiting import Waiting
from .workers import Workers

__all__ = ["run"]

#: Seconds that connections have for a last request.
_LAST = 1.0
#: Seconds after which a connection ends that asks nothing more.
_IDLE = 75


def run(
    named: Mapping[str, Path],
    listening: socket.socket,
    place: Place,
    computing: Computing,
    waits: Waits,
    limits: Limits,
    workers: int,
    alpha: float,
    state: Path | None,
    say: Say,
) -> None:
    """Serve guards, whose folders are by their names, at a socket that listens; see `outskirts.serving.serve.serve`."""
    waiting = Waiting(waits)
    with Workers(named, computing, workers, waiting, say) as processes:
        service = Service(named, processes, waiting, limits, alpha, state, say)
        app = make_app(service, place.key, place.origins)
        config = uvicorn.Config(
            app,
            http=Patient,
            log_level="warning",
            server_header=False,
            timeout_keep_alive=_IDLE,
            timeout_graceful_shutdown=place.drain,
            lifespan="on",
        )
        host, port = listening.getsockname()[:2]
        say(f"{', '.join(named)}: http://{f'[{host}]' if ':' in host else host}:{port} (Ctrl-C ends it)")
        try:
            _Server(config, service.ending).run([listening])
        finally:
            service.keep_now()
        say("All requests are answered; the server has ended.")


class _Server(uvicorn.Server):
    """A server that answers all that has come when it is told to end.

    A connection may have a request on its way that this side has not seen yet. So those that exist are given a moment
    for a last one, whose answer says that the connection ends (`make_app`).
    """

    def __init__(self, config: uvicorn.Config, ending: Event) -> None:
        super().__init__(config)
        self.ending = ending

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for listening in sockets or []:
            listening.close()
        self.ending.set()
        until = time.monotonic() + _LAST
        while self.server_state.connections and time.monotonic() < until and not self.force_exit:
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)
