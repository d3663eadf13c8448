"""A fixed set of features by class, from which synthesisers make outliers without training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from .. import grouped
from ..errors import OutskirtsError

__all__ = ["FeatureBank", "evenly"]


class FeatureBank(NamedTuple):
    """Features by class, as synthesisers are called with.

    Arguments:
        values: [C, n, D]; zero beyond `filled`.
        filled: How many rows of each class are valid, from the first on, [C].
        rows: Which of the features given each is, int64 [C, n].
        classes: The C names.
    """

    values: Tensor
    filled: Tensor
    rows: Tensor
    classes: tuple[str, ...]

    @classmethod
    def of(
        cls, features: Tensor, labels: Tensor, classes: Sequence[str] | None = None, size: int | None = None
    ) -> FeatureBank:
        """Sort features by class.

        Arguments:
            features: [N, D].
            labels: [N], from 0 to C - 1.
            classes: Names; numbers up to the largest label unless given.
            size: The most rows to keep of a class, the last ones; all unless given.

        Raises:
            OutskirtsError: If the shapes do not fit, a label has no class, or a feature has no direction.
        """
        if features.ndim != 2 or labels.shape != features.shape[:1] or not len(labels):
            raise OutskirtsError(
                "Outliers are made of one or more features [N, D] with labels [N], "
                f"not of shapes {list(features.shape)} and {list(labels.shape)}."
            )
        names = tuple(map(str, range(int(labels.max()) + 1)) if classes is None else classes)
        if labels.min() < 0 or labels.max() >= len(names):
            raise OutskirtsError(
                f"Labels from {int(labels.min())} to {int(labels.max())} do not fit the {len(names)} classes, "
                "which count from 0."
            )
        norms = features.norm(dim=1)
        broken = int((~norms.isfinite() | (norms == 0)).sum())
        if broken:
            raise OutskirtsError(
                f"{broken} of {len(features)} features are zero or not finite: they have no direction."
            )
        rows, valid = grouped.table(labels, len(names), size)
        return cls(features[rows].masked_fill(~valid[..., None], 0), valid.sum(1), rows, names)


def evenly(labels: Tensor, classes: int, n: int, generator: Generator) -> Tensor:
    """The positions of `n` random rows, sorted, with as equal shares of all labels as there are rows for.

    Arguments:
        labels: [N], at least n, from 0 to classes - 1.
        classes: How many labels there are.
        n: Number of rows to choose.
        generator: Generator on the device of the labels.
    """
    shuffled = torch.randperm(len(labels), generator=generator, device=labels.device)
    by_label = grouped.places(labels, classes, shuffled)
    return by_label.order[by_label.rank.argsort(stable=True)[:n]].sort().values
