"""Exponential moving average of a module's state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..models.weights import load_weights

__all__ = ["EMA"]


class EMA:
    """Averages parameters and floating-point buffers; with decay 0 it follows the module exactly.

    Arguments:
        module: What to follow.
        decay: Share of the old average kept at each update, once there have been many: a short training would else end
            with weights that are mostly those it began with.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module, self.decay = module, decay
        self.state: dict[str, Tensor] = {k: v.detach().clone() for k, v in self._live().items()} if decay else {}

    def _live(self) -> dict[str, Tensor]:
        return {k: v for k, v in self.module.state_dict().items() if v.is_floating_point()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average towards the module's present state, after so many steps, the first being 1."""
        if self.decay:
            live, decay = self._live(), min(self.decay, step / (step + 9))
            torch._foreach_lerp_(list(self.state.values()), [live[k] for k in self.state], 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average into the module inside the block."""
        if not self.decay:
            yield
            return
        live = {key: value.clone() for key, value in self._live().items()}
        load_weights(self.module, self.state, strict=False)
        try:
            yield
        finally:
            load_weights(self.module, live, strict=False)
