"""A network seen from inside: what some of its layers take, beside what it returns."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["Tapped", "pooled"]


class Tapped(nn.Module):
    """Features [B, D]: the inputs, or the outputs, of some modules of a network, side by side.

    Arguments:
        model: Maps images [B, C, H, W] to logits [B, classes].
        paths: Names of modules, each of which is called once.
        side: Whether their ``input`` or their ``output`` is taken; maps are averaged over their positions.
        carries: Whether the logits follow the features; see `outskirts.models.heads.CarriedHead`.
    """

    def __init__(self, model: nn.Module, paths: Sequence[str], side: str = "input", carries: bool = False) -> None:
        super().__init__()
        self.model = model
        self.paths = tuple(paths)
        self.side = side
        self.carries = carries

    def forward(self, images: Tensor) -> Tensor:
        taken: dict[str, Tensor] = {}
        handles = [self._tap(path, taken) for path in self.paths]
        try:
            logits = self.model(images)
        finally:
            for handle in handles:
                handle.remove()
        return torch.cat([*(taken[path] for path in self.paths), *([logits.flatten(1)] if self.carries else [])], 1)

    def _tap(self, path: str, taken: dict[str, Tensor]) -> torch.utils.hooks.RemovableHandle:
        module = self.model.get_submodule(path)
        if self.side == "input":
            return module.register_forward_pre_hook(lambda _, given: taken.__setitem__(path, pooled(given[0])))
        return module.register_forward_hook(lambda _, _given, made: taken.__setitem__(path, pooled(made)))


def pooled(values: Tensor) -> Tensor:
    """Features [B, D] of maps [B, D, H, W], averaged over their positions; those [B, D] are as they were."""
    return values.flatten(2).mean(2) if values.ndim > 2 else values
