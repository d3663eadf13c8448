"""The cluster of Ray that work is given to: the one that is there, or one that is started on this machine."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ...errors import MissingExtra, OutskirtsError, debugging, loading

__all__ = ["Share", "connected", "quiet_data", "require_ray", "shared"]

#: What is so on a cluster that is started here, unless it is said otherwise: no reports of how Ray is used leave the
#: machine (see Ray's page on usage statistics), and of its core's log, people see what ended it.
_ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", **({} if debugging() else {"RAY_BACKEND_LOG_LEVEL": "fatal"})}


@dataclass(frozen=True)
class Share:
    """What each worker has.

    Arguments:
        workers: Number of workers.
        cores: Cores of each.
        gpus: GPUs of each; a part of one where several workers share it.
        device: Device of the network.
        room: Workers that there is room for now.
    """

    workers: int
    cores: int
    gpus: float
    device: str
    room: int


def require_ray() -> Any:
    """Ray with its library for data, or an error that says how it is installed."""
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtra("--engine ray", "ray") from error
    return ray


@contextmanager
def connected(workers: int | None = None) -> Iterator[Any]:
    """A block with a cluster: the one that this process, or ``RAY_ADDRESS``, is connected to, which is left as it is;
    or one on this machine, which ends with the block.

    Arguments:
        workers: How many workers a cluster on this machine has room for; one for each core unless given.
    """
    ray = require_ray()
    if ray.is_initialized():
        yield ray
        return
    options: dict[str, Any] = {"log_to_driver": debugging(), "logging_level": logging.ERROR}
    here = not os.environ.get("RAY_ADDRESS")
    with _environment(_ENVIRONMENT if here else {}):
        if here:
            options |= {"address": "local", "include_dashboard": False}
            options |= {"num_cpus": max(workers or 1, _cores())}
        with loading("Ray cannot be reached or started"):
            ray.init(**options)
        try:
            yield ray
        finally:
            ray.shutdown()


def shared(nodes: Sequence[Mapping[str, float]], workers: int | None, device: str) -> Share:
    """How the machines of a cluster are shared among workers: one for each GPU, or for each core where there is none.

    Arguments:
        nodes: Resources of each machine, by Ray's names.
        workers: Number of workers, if it is given.
        device: Device of the network: ``auto`` is the GPU if the cluster has some.

    Raises:
        OutskirtsError: If it has no GPU and one is asked for, or no cores.
    """
    with_gpus = [node for node in nodes if node.get("GPU", 0) >= 1]
    if device == "cuda" and not with_gpus:
        raise OutskirtsError("The cluster has no GPU; choose another device (auto or cpu).")
    on_gpus = bool(with_gpus) and device in ("auto", "cuda")
    nodes = [node for node in (with_gpus if on_gpus else nodes) if node.get("CPU", 0) >= 1]
    if not nodes:
        raise OutskirtsError("The cluster has no machine with a free core for a worker; start one with cores.")
    cores = [int(node["CPU"]) for node in nodes]
    gpus = [int(node.get("GPU", 0)) for node in nodes]
    places = sum(gpus) if on_gpus else 1 if device == "mps" else sum(cores)
    count = workers or places
    # As many as fit on each machine: a worker cannot have cores of two.
    each = max(1, min(sum(cores) // count, *cores))
    per_gpu = math.ceil(count / places)
    room = sum(min(core // each, gpu * per_gpu) if on_gpus else core // each for core, gpu in zip(cores, gpus))
    # Ray counts in ten-thousandths.
    share = math.floor(10_000 / per_gpu) / 10_000 if on_gpus else 0
    return Share(count, each, share, "cuda" if on_gpus else "cpu" if device == "auto" else device, room)


@contextmanager
def quiet_data() -> Iterator[None]:
    """A block in which Ray's library for data neither draws bars of its own nor logs its plans."""
    from ray.data import DataContext

    context, log = DataContext.get_current(), logging.getLogger("ray.data")
    before = context.enable_progress_bars, log.level
    if not debugging():
        context.enable_progress_bars = False
        log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        context.enable_progress_bars = before[0]
        log.setLevel(before[1])


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """A block with environment variables, where they are not set already."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
