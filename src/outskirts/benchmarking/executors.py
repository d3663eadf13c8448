"""Where the runs of a matrix are made: in this process, or in those of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from ..data.cache import keeping, kept
from ..errors import MissingExtra, unknown
from ..training.loop import Interrupted
from .jobs import Cell
from .run_job import run_cell

__all__ = ["ENGINES", "run_all"]

Told = Callable[[Cell, str], None]

#: What lasts as long as a worker of Ray's.
_WORKER = ExitStack()


def _local(cells: Sequence[Cell], told: Told) -> None:
    with keeping():
        for cell in cells:
            told(cell, run_cell(cell))


def _ray(cells: Sequence[Cell], told: Told) -> None:
    """A task for each run. Those of a worker that dies are given to another, which goes on from the checkpoint."""
    try:
        import ray
    except ImportError as error:
        raise MissingExtra("--engine ray", "ray") from error
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    # Workers make one run after the other, as this process does; what they keep ends with them.
    task: Any = ray.remote(_kept_run)
    gpus = ray.cluster_resources().get("GPU", 0) > 0
    again = {"max_retries": -1, "retry_exceptions": [Interrupted]}
    waiting = {task.options(num_gpus=_gpus(cell, gpus), **again).remote(cell): cell for cell in cells}
    while waiting:
        done, _ = ray.wait(list(waiting), num_returns=1)
        for reference in done:
            told(waiting.pop(reference), ray.get(reference))


def _kept_run(cell: Cell) -> str:
    if kept() is None:
        _WORKER.enter_context(keeping())
    return run_cell(cell)


def _gpus(cell: Cell, there: bool) -> int:
    """What a run asks for: Ray hides GPUs from a task that does not."""
    return int(there and cell.options["device"] in ("auto", "cuda"))


#: By name.
ENGINES: dict[str, Callable[[Sequence[Cell], Told], None]] = {"local": _local, "ray": _ray}


def run_all(cells: Sequence[Cell], engine: str = "local", told: Told = lambda cell, reason: None) -> None:
    """Make all runs of a matrix that are not there.

    Arguments:
        cells: The runs; their folders must be seen by all machines.
        engine: A name in `ENGINES`; ``ray`` takes the cluster that ``RAY_ADDRESS`` names, or begins one here.
        told: Called with each run as it ends, and why it failed, or nothing.
    """
    if engine not in ENGINES:
        raise unknown("engine", engine, ENGINES)
    ENGINES[engine](cells, told)
