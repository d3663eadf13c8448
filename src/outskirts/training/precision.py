"""Which number format a device computes faster in."""

from __future__ import annotations

import time

import torch
from torch import nn

from ..errors import OutskirtsError, unknown

__all__ = ["faster_precision", "resolve_device"]


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


def faster_precision(device: torch.device) -> str:
    """``bf16`` if a small convolution trains clearly faster in it on this device, else ``fp32``.

    Processors differ too much to go by their flags: some emulate bfloat16 and are slower in it.
    """
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type != "cpu":
        return "fp32"
    with torch.inference_mode(False), torch.enable_grad():  # Whoever asks may be without gradients.
        times = {precision: _seconds(precision == "bf16") for precision in ("bf16", "fp32")}
    return "bf16" if times["bf16"] < 0.85 * times["fp32"] else "fp32"


def _seconds(bf16: bool, repeats: int = 4) -> float:
    """The shortest time of a forward and backward pass through one convolution."""
    layer = nn.utils.skip_init(nn.Conv2d, 64, 64, 3, padding=1, bias=False)
    nn.init.zeros_(layer.weight)
    layer = layer.to(memory_format=torch.channels_last)
    images = torch.zeros(64, 64, 16, 16).contiguous(memory_format=torch.channels_last).requires_grad_()
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            output = layer(images)
        output.sum().backward()
        best = min(best, time.perf_counter() - start)
    return best
