"""Tensors of a device in the host's memory, without its having to wait for the host."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

__all__ = ["to_host"]

D = TypeVar("D")
Tables = dict[str, dict[str, Tensor]]


def to_host(passes: Iterable[tuple[D, Tables]], device: torch.device) -> Iterator[tuple[D, Tables]]:
    """The same in the host's memory; of CUDA each when the next is launched, so that the device has work meanwhile.

    Arguments:
        passes: Launches the work on the device, one batch at a time; what goes with the tensors is passed on.
        device: Where the tensors are. Other devices than CUDA promise nothing of copies that are not waited for.
    """
    if device.type != "cuda":
        for about, tables in passes:
            yield about, _copied(tables)
        return
    late = None
    for about, tables in passes:
        copied, event = _copied(tables, non_blocking=True), torch.cuda.Event()
        event.record(torch.cuda.current_stream(device))
        if late is not None:
            yield _arrived(*late)
        late = event, about, copied
    if late is not None:
        yield _arrived(*late)


def _copied(tables: Tables, non_blocking: bool = False) -> Tables:
    # To pinned memory, where it is not waited for; and on the CPU to where it is.
    return {
        name: {column: values.to("cpu", non_blocking=non_blocking) for column, values in columns.items()}
        for name, columns in tables.items()
    }


def _arrived(event: torch.cuda.Event, about: D, tables: Tables) -> tuple[D, Tables]:
    event.synchronize()
    return about, tables
