"""The labels of images and the names of their classes, as image sets hold them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import OutskirtsError
from ..texts import counted

__all__ = ["MOST_CLASSES", "class_names", "class_numbers"]

#: Beyond this, numbers are ids or pixels and not classes.
MOST_CLASSES = 1_000_000


def class_numbers(labels: Any, where: str) -> Tensor:
    """The class of each image, int64 [N]; -1 where it has none.

    Arguments:
        labels: Whole numbers of any type, [N].
        where: How errors call the images.

    Raises:
        OutskirtsError: If they are no such numbers.

    >>> class_numbers([0.0, 2.0, -1.0], "The set").tolist()
    [0, 2, -1]
    """
    given = np.asarray(labels.cpu() if isinstance(labels, Tensor) else labels)
    with np.errstate(invalid="ignore"):
        whole = given.astype(np.int64) if given.dtype.kind in "biuf" else np.zeros(0)
    if whole.shape != given.shape or (whole != given).any():
        raise OutskirtsError(f"{where} needs labels that are whole numbers: the class of each image, or -1 for none.")
    if whole.size and whole.min() < -1:
        raise OutskirtsError(f"{where} has the label {whole.min()}; -1 alone stands for none.")
    if whole.size and whole.max() >= MOST_CLASSES:
        raise OutskirtsError(f"{where} has the label {whole.max()}; labels count the classes from 0.")
    return torch.from_numpy(whole)


def class_names(classes: Sequence[str], labels: Tensor, where: str) -> list[str]:
    """The names of the classes; the numbers that labels have, where there are no names.

    Raises:
        OutskirtsError: If a name is no text, or empty, or there twice; or if a label has no name.
    """
    most = int(labels.max()) if len(labels) else -1
    names = list(classes) or [str(i) for i in range(most + 1)]
    if strange := [name for name in names if not isinstance(name, str) or not name]:
        raise OutskirtsError(f"{where} has the class {strange[0]!r}; each class needs a text as its name.")
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise OutskirtsError(f"{where} has two classes called '{twice[0]}'; give each a name of its own.")
    if most >= len(names):
        raise OutskirtsError(f"{where} has the label {most} but {counted(len(classes), 'class')}, counted from 0.")
    return names
