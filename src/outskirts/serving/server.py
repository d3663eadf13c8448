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

from ..errors import OutskirtsError
from ..telling import Say
from .app import make_app
from .options import Computing, Limits, Place, Waits
from .patience import Patient
from .service import Service
from .waiting import Waiting
from .workers import Workers

__all__ = ["run"]

#: Connections that wait until the server takes them.
_BACKLOG = 2048
#: Seconds that connections have for a last request.
_LAST = 1.0
#: Seconds after which a connection ends that asks nothing more.
_IDLE = 75


def run(
    named: Mapping[str, Path],
    place: Place,
    computing: Computing,
    waits: Waits,
    limits: Limits,
    workers: int,
    alpha: float,
    state: Path | None,
    say: Say,
) -> None:
    """Serve guards; see `outskirts.serving.serve.serve`. Their folders are by the names under which they are served."""
    listening = _listening(place)
    waiting = Waiting(waits)
    with listening, Workers(named, computing, workers, waiting, say) as processes:
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


def _listening(place: Place) -> socket.socket:
    """A socket that listens there, so that no guard is loaded if none can."""
    try:
        family = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.socket(family)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((place.host, place.port))
        listening.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        raise OutskirtsError(f"Nothing can listen at {place.host}, port {place.port}: {error}.") from error
    return listening
