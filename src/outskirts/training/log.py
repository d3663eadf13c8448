"""What is told of a training, line by line."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..distributed import average
from ..files import writing

__all__ = ["Log"]


@dataclass
class Log:
    """Averages a method's scalars between lines of `metrics.jsonl`."""

    path: Path
    every: int
    #: By name, the sum since the last line.
    sums: dict[str, Tensor] = field(default_factory=dict)
    #: By name, over how many steps: not every step needs to have every scalar.
    steps: Counter[str] = field(default_factory=Counter)

    @torch.no_grad()
    def add(self, scalars: dict[str, Tensor]) -> None:
        """Add one step's scalars, without waiting for the device."""
        values = {name: value.detach().float() for name, value in scalars.items()}
        known = self.sums.keys() & values.keys()
        # All at once: for each alone, a small network would wait for the host.
        if known:
            torch._foreach_add_([self.sums[name] for name in known], [values[name] for name in known])
        self.sums |= {name: value.clone() for name, value in values.items() if name not in known}
        self.steps.update(values.keys())

    def level(self) -> None:
        """Replace the sums by their averages over processes."""
        if self.sums:
            self.sums = dict(zip(self.sums, average(torch.stack(list(self.sums.values())))))

    def means(self) -> dict[str, float]:
        """The averages since the last call, over all processes."""
        self.level()
        means = (
            torch.stack([total / self.steps[name] for name, total in self.sums.items()]).tolist() if self.sums else []
        )
        averages = dict(zip(self.sums, means))
        self.restore({})
        return averages

    @property
    def state(self) -> dict[str, Tensor]:
        """Sums and numbers of steps, to go on from."""
        return {name: torch.stack([total, total.new_tensor(self.steps[name])]) for name, total in self.sums.items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from a `state`."""
        self.sums = {name: total for name, (total, _) in state.items()}
        self.steps = Counter({name: int(steps) for name, (_, steps) in state.items()})

    def write(self, record: dict[str, Any]) -> None:
        """Append one line."""
        with writing(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
