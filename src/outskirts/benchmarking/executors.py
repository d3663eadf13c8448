"""Where the runs of a matrix are made: in this process, or in those of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from ..data.cache import cached_images, current_cache
from ..errors import MissingExtra, unknown
from ..training.loop import Interrupted
from .jobs import Job
from .run_job import run_job

__all__ = ["EXECUTORS", "run_all"]

Told = Callable[[Job, str], None]

#: What lasts as long as a worker of Ray's.
_WORKER = ExitStack()


def _local(jobs: Sequence[Job], told: Told) -> None:
    with cached_images():
        for job in jobs:
            told(job, run_job(job))


def _ray(jobs: Sequence[Job], told: Told) -> None:
    """A task for each run. Those of a worker that dies are given to another, which goes on from the checkpoint."""
    try:
        import ray
    except ImportError as error:
        raise MissingExtra("--executor ray", "ray") from error
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    # Workers make one run after the other, as this process does; what they keep ends with them.
    task: Any = ray.remote(_kept_run)
    gpus = ray.cluster_resources().get("GPU", 0) > 0
    again = {"max_retries": -1, "retry_exceptions": [Interrupted]}
    waiting = {task.options(num_gpus=_gpus(job, gpus), **again).remote(job): job for job in jobs}
    while waiting:
        done, _ = ray.wait(list(waiting), num_returns=1)
        for reference in done:
            told(waiting.pop(reference), ray.get(reference))


def _kept_run(job: Job) -> str:
    if current_cache() is None:
        _WORKER.enter_context(cached_images())
    return run_job(job)


def _gpus(job: Job, there: bool) -> int:
    """What a run asks for: Ray hides GPUs from a task that does not."""
    return int(there and job.options["device"] in ("auto", "cuda"))


#: By name.
EXECUTORS: dict[str, Callable[[Sequence[Job], Told], None]] = {"local": _local, "ray": _ray}


def run_all(jobs: Sequence[Job], executor: str = "local", told: Told = lambda job, reason: None) -> None:
    """Make all runs of a matrix that are not there.

    Arguments:
        jobs: The runs; their folders must be seen by all machines.
        executor: A name in `EXECUTORS`; ``ray`` takes the cluster that ``RAY_ADDRESS`` names, or begins one here.
        told: Called with each run as it ends, and why it failed, or nothing.
    """
    if executor not in EXECUTORS:
        raise unknown("executor", executor, EXECUTORS)
    EXECUTORS[executor](jobs, told)
