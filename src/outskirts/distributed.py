"""What a method must know of the other processes of a training."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["anywhere", "average", "gather", "processes", "quadratic_mean"]


def processes() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather(values: Tensor) -> Tensor:
    """The rows [B, …] of all processes, the first of each, then the second ones and so on, with their gradient's path.

    That is the order of the whole batch, of which each process has every n-th image; of several views of it, one after
    the other, too. Every process must hold as many rows. The gradient of a loss computed alike on all processes is
    summed over them, which the average that data parallelism takes undoes.
    """
    return values if processes() == 1 else _Gather.apply(values)


@torch.no_grad()
def average(values: Tensor) -> Tensor:
    """The mean over processes of a tensor, without a gradient."""
    return values if processes() == 1 else gather(values[None]).mean(0)


def quadratic_mean(values: Tensor) -> Tensor:
    """The root of the mean over processes of the squares: what a root of a mean of squares is over all images."""
    return values if processes() == 1 else average(values.square()).sqrt()


def anywhere(holds: bool, device: torch.device) -> bool:
    """Whether something holds on any process; all must ask."""
    return average(torch.tensor(float(holds), device=device)).item() > 0 if processes() > 1 else holds


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        values = values.contiguous()
        rows = [torch.empty_like(values) for _ in range(dist.get_world_size())]
        dist.all_gather(rows, values)
        return torch.stack(rows, 1).flatten(0, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        gradient = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient[dist.get_rank() :: dist.get_world_size()]
