"""What every synthesiser returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from torch import Generator, Tensor

from ..errors import OutskirtsError
from ..files import load_tensors, save_tensors

__all__ = ["FeatureSynthesizer", "Outliers"]

#: Raised when files of an earlier version can no longer be read.
_FORMAT = 1


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

    def save(self, path: Path | str) -> None:
        """Write everything to one safetensors file, atomically."""
        info = {f"info.{key}": value for key, value in self.info.items()}
        about = {"content": "outliers", "format": _FORMAT}
        save_tensors(Path(path), {"values": self.values, "labels": self.labels, **info}, about)

    @classmethod
    def load(cls, path: Path | str) -> Outliers:
        """Read what `save` wrote; a missing, damaged or foreign file is an error."""
        tensors, about = load_tensors(Path(path))
        if about.get("content") != "outliers" or not {"values", "labels"} <= tensors.keys():
            raise OutskirtsError(f"{path} does not hold outliers.")
        if about.get("format") != _FORMAT:
            raise OutskirtsError(
                f"{path} was written in format {about.get('format')} of outliers; this version of outskirts reads "
                f"{_FORMAT}. Make them again, or use the version that wrote them."
            )
        values, labels = tensors.pop("values"), tensors.pop("labels")
        return cls(values, labels, {key.removeprefix("info."): value for key, value in tensors.items()})


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
