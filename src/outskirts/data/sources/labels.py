"""Labels as stored, to labels as an `ImageSet` has them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import OutskirtsError
from ..labelling import MOST_CLASSES

__all__ = ["IN_PATH", "class_indices", "finder", "in_numeric_order", "named", "named_in_order", "whole_number"]

#: What a pattern for the paths of images follows.
IN_PATH = "path:"

#: Decimal digits that a whole number of 64 bits always has room for.
_DIGITS = 18


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
        raise OutskirtsError(f"{where} are {len(labels)} for {count} images; each image needs one label.")
    if count and int(labels.max()) >= MOST_CLASSES:
        raise OutskirtsError(f"{where} reach {labels.max()}; they must count the classes from 0.")
    return torch.from_numpy(labels.astype(np.int64))


def whole_number(text: str) -> int:
    """The number of which a text has the decimal digits; where they are too many, one that no label may be, either.

    >>> whole_number("07"), whole_number("9" * 5000)
    (7, 999999999999999999)
    """
    return int(text.lstrip("0")[:_DIGITS] or 0)


def finder(pattern: str) -> re.Pattern[str]:
    """A regular expression, or an error that says what is wrong with it."""
    try:
        return re.compile(pattern)
    except re.error as error:
        raise OutskirtsError(f"'{pattern}' is not a regular expression ({error}).") from error


def named(names: Sequence[str]) -> tuple[Tensor, list[str]]:
    """The position of each name among all of them in alphabetical order, int64 [N], and those.

    >>> named(["dog", "cat", "dog"])
    (tensor([1, 0, 1]), ['cat', 'dog'])
    """
    known, positions = np.unique(np.asarray(names, dtype=str), return_inverse=True)
    return torch.from_numpy(positions.astype(np.int64)), known.tolist()


def named_in_order(names: Sequence[str | None]) -> tuple[Tensor, list[str]]:
    """The position of each name among all of them, int64 [N], -1 for none, and those: in alphabetical order, or in that
    of their numbers if all are whole numbers.

    >>> named_in_order(["10", None, "2"])
    (tensor([ 1, -1,  0]), ['2', '10'])
    """
    known = in_numeric_order(sorted({name for name in names if name is not None}))
    places = {name: place for place, name in enumerate(known)}
    return torch.tensor([-1 if name is None else places[name] for name in names], dtype=torch.int64), known


def in_numeric_order(names: Sequence[str]) -> list[str]:
    """Names in the order of their numbers, if all are whole numbers; else as they are.

    >>> in_numeric_order(["1", "10", "2"]), in_numeric_order(["10", "2", "cat"])
    (['1', '2', '10'], ['10', '2', 'cat'])
    """
    if not all(name.isascii() and name.isdecimal() for name in names):
        return list(names)
    # Without making numbers of them, which Python refuses to do with thousands of digits.
    return sorted(names, key=lambda name: (len(name.lstrip("0")), name.lstrip("0"), name))
