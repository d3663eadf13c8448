"""The optimiser of a training, as its options want it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from ..trainable import Trainable
from .config import TrainConfig

__all__ = ["optimizer_for"]


def optimizer_for(method: Trainable, config: TrainConfig) -> Optimizer:
    """SGD or AdamW, with one group of parameters per learning-rate factor of the method."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in method.named_parameters():
        if parameter.requires_grad:
            groups.setdefault(method.lr_factor(name), []).append(parameter)
    options = [{"params": params, "factor": factor, "lr": config.lr * factor} for factor, params in groups.items()]
    # On CUDA one kernel moves all parameters, if all have moved before; None leaves the choice to torch.
    fused = (next(method.parameters()).device.type == "cuda" and not method.has_unused_parameters) or None
    common: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay, "fused": fused}
    if config.optimizer == "adamw":
        return torch.optim.AdamW(options, **common)
    return torch.optim.SGD(options, momentum=config.momentum, nesterov=config.momentum > 0, **common)
