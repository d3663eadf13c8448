"""Batch normalisation by the statistics of all processes' images.

With statistics of its own on each process, the same batch would train another network, and a worse one the fewer images
there are on each. torch's ``SyncBatchNorm`` runs on GPUs only, and takes the place of a network's own layers, which may
be more than normalisation. Here the function that all such layers call is another one for as long as a block lasts.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import batch_norm
from torch.overrides import TorchFunctionMode

from ..distributed import gather, processes

__all__ = ["synchronised"]


def synchronised() -> AbstractContextManager[Any]:
    """A block in which training layers normalise by the images of all processes, and their running statistics follow
    those; nothing is changed where there is one process.
    """
    return _Synchronised() if processes() > 1 else nullcontext()


class _Synchronised(TorchFunctionMode):
    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        function = _batch_norm if function is batch_norm else function
        return function(*args, **(kwargs or {}))


def _batch_norm(
    images: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """As torch's, over all processes, of which each must hold as many images."""
    if not training:
        return batch_norm(images, running_mean, running_var, weight, bias, training, momentum, eps)
    values, mean, var = _BatchNorm.apply(images, weight, bias, eps)
    if running_mean is not None and running_var is not None:
        count = _count(images)
        running_mean.lerp_(mean.to(running_mean), momentum)
        running_var.lerp_((var * count / (count - 1)).to(running_var), momentum)
    return values


def _count(images: Tensor) -> int:
    """Values per channel of all processes."""
    return processes() * images.numel() // images.shape[1]


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, images: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        blank = images.new_zeros(images.shape[1], dtype=torch.promote_types(images.dtype, torch.float32))
        means, variances = gather(torch.stack(torch.batch_norm_update_stats(images, blank, blank, 0.0))[None]).unbind(1)
        mean, var = means.mean(0), variances.mean(0) + means.var(0, correction=0)
        ctx.save_for_backward(images, weight, mean, var)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, var)
        return batch_norm(images, mean, var, weight, bias, eps=eps), mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        images, weight, mean, var = ctx.saved_tensors
        # As if the statistics were constants.
        gradient, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradients[0], images, weight, mean, var, None, None, False, ctx.eps, [True, True, True]
        )
        sums = torch.stack([of_weight, of_bias])
        dist.all_reduce(sums)
        # Through them, it loses its mean and what of it is along the normalised images.
        scale = (var + ctx.eps).rsqrt() * (1 if weight is None else weight)
        slope, shift = scale * sums / _count(images)
        gradient = gradient - batch_norm(images, mean, var, slope, shift, eps=ctx.eps)
        return gradient, *((None, None) if weight is None else (of_weight, of_bias)), None
