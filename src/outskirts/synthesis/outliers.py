"""What every synthesiser returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

__all__ = ["Outliers"]


@dataclass(frozen=True)
class Outliers:
    """Synthesised outliers.

    Arguments:
        values: Images [B, C, H, W] (normalised) or features [B, D].
        labels: The class each was made from, [B], int64.
        info: Diagnostics: scalars of the batch, and tensors whose first axis is B.
    """

    values: Tensor
    labels: Tensor
    info: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values)
