"""Labels as stored, to labels as an `ImageSet` has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import OutskirtsError

__all__ = ["class_indices"]

# Beyond this, numbers are ids or pixels and not classes.
_MOST_CLASSES = 1_000_000


def class_indices(values: Any, count: int, where: str) -> Tensor:
    """Integer labels, int64 [N], of an array [N] or [N, 1].

    Arguments:
        values: What the store holds.
        count: How many images there are.
        where: How errors call the labels.
    """
    labels = np.asarray(values)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise OutskirtsError(
            f"{where} are {labels.dtype} of shape {labels.shape}; they must be one whole number per image."
        )
    if len(labels) != count:
        raise OutskirtsError(f"{where} are {len(labels)} for {count} images.")
    if count and int(labels.max()) >= _MOST_CLASSES:
        raise OutskirtsError(f"{where} reach {labels.max()}; they must count the classes from 0.")
    return torch.from_numpy(labels.astype(np.int64))
