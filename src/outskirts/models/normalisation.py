"""Batch normalisation of images that are not from the training set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["unrecorded_statistics"]


@contextmanager
def unrecorded_statistics(module: nn.Module) -> Iterator[None]:
    """Normalise by the batch's own statistics inside the block without moving the running ones; layers in
    evaluation mode go on using those.
    """
    norms = [p for p in module.modules() if isinstance(p, nn.modules.batchnorm._BatchNorm) and p.training]
    tracking = [norm.track_running_stats for norm in norms]
    running = [(norm.running_mean, norm.running_var) for norm in norms]
    for norm in norms:
        norm.track_running_stats, norm.running_mean, norm.running_var = False, None, None
    try:
        yield
    finally:
        for norm, track, (mean, var) in zip(norms, tracking, running):
            norm.track_running_stats, norm.running_mean, norm.running_var = track, mean, var
