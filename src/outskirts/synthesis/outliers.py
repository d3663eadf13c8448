"""What every synthesiser returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from torch import Generator, Tensor

__all__ = ["FeatureSynthesizer", "Outliers"]


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


class FeatureSynthesizer(Protocol):
    """Makes outliers in feature space from a bank of features per class."""

    def __call__(self, values: Tensor, filled: Tensor, generator: Generator) -> Outliers:
        """Outliers of the classes that are ready; none, with zero rows, while no class is.

        Arguments:
            values: Features by class, [C, n, D].
            filled: How many rows of each class are valid, from the first on, [C].
            generator: For whatever is drawn.
        """
        ...
