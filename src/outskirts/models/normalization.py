"""Batch normalisation of images that are not from the training set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

__all__ = ["Statistics", "beside", "unrecorded_statistics"]

#: Whether outliers share the images' normalisation statistics, or keep out of them.
Statistics = Literal["shared", "separate"]


def beside(
    network: nn.Module, part: Callable[[Tensor], Tensor], images: Tensor, outliers: Tensor, statistics: Statistics
) -> tuple[Tensor, Tensor]:
    """What a part of a network makes of images and of outliers.

    Arguments:
        network: The whole of it.
        part: The network itself, or a function of its own.
        images: [N, …].
        outliers: [M, …], M may be 0.
        statistics: ``shared`` normalises both in one pass; ``separate`` normalises outliers by themselves, and keeps
            them out of the running statistics that evaluation uses.
    """
    if statistics == "shared":
        both = part(torch.cat([images, outliers]))
        return both[: len(images)], both[len(images) :]
    image_output = part(images)
    if not len(outliers):
        return image_output, image_output[:0]
    with unrecorded_statistics(network):
        return image_output, part(outliers)


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
