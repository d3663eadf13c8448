"""Where numbers are computed, how exactly, and how they get there without a wait.

A GPU works through a queue while the host goes on. Whatever the host must know of the device's numbers makes it wait
until the queue is empty, after which the device has nothing to do until the host has caught up. So a training step asks
the device for nothing: what decides shapes is known on the host, and what goes to the device goes without a wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache, lru_cache
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from .errors import OutskirtsError, unknown

__all__ = [
    "HostBuffers",
    "constant",
    "faster_precision",
    "full_precision",
    "repeatable",
    "resolve_device",
    "sent",
    "there",
    "uncompiled",
]


class HostBuffers(nn.Module):
    """A module some of whose buffers stay on the host, wherever the others move: what decides shapes must be known
    there without asking a device."""

    host_buffers: ClassVar[tuple[str, ...]] = ()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        kept = {name: getattr(self, name) for name in self.host_buffers}
        super()._apply(fn, recurse)
        for name, buffer in kept.items():
            setattr(self, name, buffer)
        return self


def resolve_device(name: str) -> torch.device:
    """The named device, or the best one present for ``auto``.

    Raises:
        OutskirtsError: If there is no such device, or it is not present.
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, there in present.items() if there)
    if name not in present:
        raise unknown("device", name, ["auto", *present])
    if not present[name]:
        raise OutskirtsError(
            f"The device '{name}' is not present here, or not one this torch can use; try auto or cpu."
        )
    return torch.device(name)


def there(values: Tensor, device: torch.device) -> Tensor:
    """A small tensor of the host on `device`, without waiting until it has arrived."""
    # The copy has its place in the device's order of work; Apple's do not promise that.
    return values.to(device, non_blocking=device.type != "mps")


def sent(images: Tensor, device: torch.device) -> Tensor:
    """The same for tensors of any size, which CUDA copies without a wait from pinned memory alone."""
    if device.type == "cuda" and images.device.type == "cpu" and not images.is_pinned():
        images = images.pin_memory()
    return there(images, device)


def constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Numbers that never change, float32 [N], sent to a device once; not to be changed in place."""
    return torch.tensor(values) if device.type == "cpu" else _constant(values, device)


@lru_cache(maxsize=64)
def _constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # Who asks first may compute without gradients, who asks next with them.
        return there(torch.tensor(values), device)


def full_precision(values: Tensor) -> AbstractContextManager[object]:
    """A block without automatic half precision on the device of `values`."""
    kind = values.device.type
    # A graph that is made of a computation would hold the block, though it changes nothing.
    there_is = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return torch.autocast(kind, enabled=False) if there_is else nullcontext()


@contextmanager
def repeatable() -> Iterator[None]:
    """A block in which convolutions on CUDA give the same bits at every call, and float32 means float32.

    By default cuDNN may add in whatever order its threads come, and rounds what it multiplies to 10 bits (TF32). Matrix
    products are rounded so where somebody asked for it.
    """
    cudnn, products = torch.backends.cudnn, torch.get_float32_matmul_precision()
    before = cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32
    cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32 = True, False, False
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32 = before
        torch.set_float32_matmul_precision(products)


@contextmanager
def uncompiled(compiled: bool) -> Iterator[None]:
    """A block in which a network that is compiled computes as written: shapes that come once are not worth compiling.

    Arguments:
        compiled: Whether there is one; nothing is done, or imported, otherwise.
    """
    with torch.compiler.set_stance("force_eager") if compiled else nullcontext():
        yield


def faster_precision(device: torch.device) -> str:
    """``bf16`` if a small convolution trains clearly faster in it on this device, else ``fp32``.

    Processors differ too much to go by their flags: some emulate bfloat16 and are slower in it.
    """
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type != "cpu":
        return "fp32"
    return _faster_on_processor(torch.get_num_threads())


@cache
def _faster_on_processor(threads: int) -> str:
    """As `faster_precision`, measured once in a process for each number of threads."""
    with torch.inference_mode(False), torch.enable_grad():  # Whoever asks may be without gradients.
        fp32, bf16 = min(_seconds(False)), float("inf")
        for seconds in _seconds(True):
            bf16 = min(bf16, seconds)
            if seconds > 4 * fp32:
                break  # It is emulated, and the next would take as long.
    return "bf16" if bf16 < 0.85 * fp32 else "fp32"


def _seconds(bf16: bool, repeats: int = 4) -> Iterator[float]:
    """The times of forward and backward passes through one convolution."""
    layer = nn.utils.skip_init(nn.Conv2d, 64, 64, 3, padding=1, bias=False)
    nn.init.zeros_(layer.weight)
    layer = layer.to(memory_format=torch.channels_last)
    images = torch.zeros(64, 64, 16, 16).contiguous(memory_format=torch.channels_last).requires_grad_()
    for _ in range(repeats):
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            output = layer(images)
        output.sum().backward()
        yield time.perf_counter() - start
