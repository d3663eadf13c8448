"""Begin to serve."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from importlib.util import find_spec
from ipaddress import ip_address
from multiprocessing import forkserver, set_forkserver_preload
from pathlib import Path

from ..arguments import check_arguments
from ..bounds import Between, Count
from ..errors import MissingExtra, OutskirtsError
from ..paths import home_expanded, output_path
from ..telling import Say, silence
from .options import Computing, Limits, Place, Waits

__all__ = ["serve"]

_PACKAGES = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")
#: Connections that wait until the server takes them.
_BACKLOG = 2048
_PLACE, _COMPUTING, _WAITS, _LIMITS = Place(), Computing(), Waits(), Limits()
#: Microseconds of processors in so many, where a container has a limit.
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


@check_arguments
def serve(
    guards: str | Path | Sequence[str | Path],
    *,
    place: Place = _PLACE,
    computing: Computing = _COMPUTING,
    waits: Waits = _WAITS,
    limits: Limits = _LIMITS,
    workers: Count = 1,
    alpha: Between = 0.01,
    state: str | Path | None = None,
    say: Say = silence,
) -> None:
    """Serve guards over HTTP until this process is told to end (SIGTERM, Ctrl-C).

    Requests that have come until then are answered. It is called in the main thread of a program, below
    ``if __name__ == "__main__":``.

    Arguments:
        guards: Folder of a guard, or of several. Each is served under the name of its folder; the first is meant where
            a request names none. A folder that changes is loaded again.
        place: Where the server is found.
        computing: How verdicts are computed.
        waits: When images go to a process.
        limits: What a request may be.
        workers: How many processes compute, at least 1.
        alpha: Probability, above 0 and below 1, that the watch over a guard ever raises an alarm while nothing has
            changed.
        state: Folder for what the watches know; nothing is kept unless given.
        say: Told in sentences what is done.

    Raises:
        OutskirtsError: If a guard cannot be loaded, or nothing can listen there.
    """
    named = _names([guards] if isinstance(guards, str | Path) else guards)
    if any(find_spec(name) is None for name in _PACKAGES):
        raise MissingExtra("A server", "serve")
    if computing.train is not None and len(named) > 1:
        raise OutskirtsError("Training images are those of one guard (--train); serve the others apart.")
    computing = replace(computing, threads=computing.threads or max(1, _cores() // workers))
    kept = None if state is None else output_path(state)
    with _listening(place) as listening:
        if not place.key and not ip_address(listening.getsockname()[0]).is_loopback:
            say("There is no key, so whoever reaches this address may ask; set one (key=, or OUTSKIRTS_API_KEY).")
        # The processes that compute are copies of one that imports torch while this one does.
        set_forkserver_preload(["outskirts.serving.preloaded"])
        forkserver.ensure_running()
        from .server import run

        run(named, listening, place, computing, waits, limits, workers, alpha, kept, say)


def _names(guards: Sequence[str | Path]) -> dict[str, Path]:
    """The folders by the names under which they are served, which are their own.

    Raises:
        OutskirtsError: If there is none, one is not the folder of a guard, or two are called alike.
    """
    if not guards:
        raise OutskirtsError("Name the folder of a guard.")
    named: dict[str, Path] = {}
    for folder in map(home_expanded, guards):
        name = folder.resolve().name
        if not (folder / "guard.json").is_file():
            raise OutskirtsError(f"{folder} is not the folder of a guard: it has no guard.json.")
        if name in named:
            raise OutskirtsError(
                f"Two guards are called '{name}', {named[name]} and {folder}; a guard is served under the name of its "
                "folder, so rename one."
            )
        named[name] = folder
    return named


def _cores() -> int:
    """The processors that this program may use; a variable that torch knows too says that it shall use fewer."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked):
        return int(asked)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = map(int, _QUOTA.read_text().split())
        cores = min(cores, max(1, round(quota / period)))
    return cores


def _listening(place: Place) -> socket.socket:
    """A socket that listens there, so that no guard is loaded if none can."""
    try:
        family = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)[0][0]
        with ExitStack() as failed:
            listening = failed.enter_context(socket.socket(family))
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((place.host, place.port))
            listening.listen(_BACKLOG)
            failed.pop_all()
    except (OSError, OverflowError) as error:
        raise OutskirtsError(f"Nothing can listen at {place.host}, port {place.port}: {error}.") from error
    return listening
