"""The state of a training between two steps, in one safetensors file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..files import load_tensors, save_tensors
from .ema import EMA

__all__ = ["load_checkpoint", "save_checkpoint"]


def save_checkpoint(
    path: Path, step: int, module: nn.Module, optimizer: Optimizer, ema: EMA, sums: dict[str, Tensor], count: int
) -> None:
    """Write what is needed to go on from `step` exactly as if nothing had happened.

    Arguments:
        path: The file.
        step: Steps done.
        module: The method; all its parameters and buffers are kept.
        optimizer: Its moments are kept.
        ema: The average of the weights.
        sums: What the log has added up since its last line, over `count` steps.
        count: See `sums`.
    """
    tensors: dict[str, Tensor] = {f"method/{k}": v for k, v in module.state_dict().items()}
    tensors |= {f"ema/{k}": v for k, v in ema.state.items()}
    tensors |= {f"log/{k}": v for k, v in sums.items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{k}": torch.as_tensor(v) for k, v in moments.items() if v is not None}
    save_tensors(path, tensors, {"step": step, "log_count": count})


def load_checkpoint(
    path: Path, module: nn.Module, optimizer: Optimizer, ema: EMA
) -> tuple[int, dict[str, Tensor], int]:
    """Put a saved state back; returns the steps done, the log's sums and their count."""
    tensors, metadata = load_tensors(path)
    groups: dict[str, dict[str, Tensor]] = {"method": {}, "ema": {}, "log": {}, "optimizer": {}}
    for key, value in tensors.items():
        group, _, name = key.partition("/")
        groups[group][name] = value
    module.load_state_dict(groups["method"])
    device = next(module.parameters()).device
    ema.state = {key: value.to(device) for key, value in groups["ema"].items()}
    state: dict[int, dict[str, Any]] = {}
    for key, value in groups["optimizer"].items():
        index, _, name = key.partition("/")
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    sums = {key: value.to(device) for key, value in groups["log"].items()}
    return metadata["step"], sums, metadata["log_count"]
