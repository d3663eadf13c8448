"""The state of a training between two steps, in one safetensors file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..errors import OutskirtsError, reason
from ..files import load_tensors, save_tensors
from ..models.weights import load_weights
from ..renamed import weights
from .ema import EMA

__all__ = ["load_checkpoint", "save_checkpoint"]

_REMEDY = "Delete it and resume, to train again from the first step."


def save_checkpoint(
    path: Path, step: int, module: nn.Module, optimizer: Optimizer, ema: EMA, sums: dict[str, Tensor]
) -> None:
    """Write what is needed to go on from `step` exactly as if nothing had happened.

    Arguments:
        path: The file.
        step: Number of steps that are done.
        module: The method; all its parameters and buffers are kept.
        optimizer: The optimiser, whose moments are kept.
        ema: The average of the weights.
        sums: What the log has added up since its last line.
    """
    tensors: dict[str, Tensor] = {f"method/{k}": v for k, v in module.state_dict().items()}
    tensors |= {f"ema/{k}": v for k, v in ema.state.items()}
    tensors |= {f"log/{k}": v for k, v in sums.items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{k}": torch.as_tensor(v) for k, v in moments.items() if v is not None}
    save_tensors(path, tensors, {"step": step})


def load_checkpoint(path: Path, module: nn.Module, optimizer: Optimizer, ema: EMA) -> tuple[int, dict[str, Tensor]]:
    """Put a saved state back; returns the steps done and the log's sums.

    Raises:
        OutskirtsError: If the file is damaged, or of another training.
    """
    try:
        tensors, metadata = load_tensors(path, kind={"step": int})
        groups: dict[str, dict[str, Tensor]] = {"method": {}, "ema": {}, "log": {}, "optimizer": {}}
        for key, value in tensors.items():
            group, _, name = key.partition("/")
            groups[group][name] = value
        load_weights(module, weights(groups["method"]))
        averages = weights(groups["ema"])
        for key, average in ema.state.items():
            average.copy_(averages[key])
        _load_moments(optimizer, groups["optimizer"])
        device = next(module.parameters()).device
        sums = {key: value.to(device) for key, value in groups["log"].items()}
        return metadata["step"], sums
    except OutskirtsError as error:
        raise OutskirtsError(f"{error} {_REMEDY}") from error
    except (KeyError, RuntimeError, ValueError, IndexError) as error:
        raise OutskirtsError(f"{path} is not a state of this training ({reason(error, 200)}). {_REMEDY}") from error


def _load_moments(optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition("/")
        like = parameters[int(index)]
        # In the parameter's own memory layout, by which arithmetic rounds: files know only one.
        moment = torch.empty_like(like, dtype=value.dtype).copy_(value) if value.shape == like.shape else value
        state.setdefault(int(index), {})[name] = moment
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
