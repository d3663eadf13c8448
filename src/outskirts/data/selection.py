"""Which images of a set: by class, by share and by number, the same for the same seed."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from .. import grouped
from ..errors import OutskirtsError, unknown
from ..seeding import generator
from .option_text import decoded

__all__ = ["class_positions", "part_bounds", "position_bounds", "quantiles"]


def quantiles(labels: Tensor, seed: int) -> Tensor:
    """A random position in (0, 1) for each image, evenly spread within every class.

    Images below 0.6 are 60 % of each class, and the n lowest are n images in the proportions of the classes;
    where these are not whole numbers, chance decides which class gets one more.

    Arguments:
        labels: [N], any integers.
        seed: Equal seeds give equal positions.

    Returns:
        [N], float64.

    >>> below = quantiles(torch.tensor([0] * 10 + [1] * 20), seed=0) < 0.6
    >>> below[:10].sum().item(), below[10:].sum().item()
    (6, 12)
    """
    rng = generator(seed, "quantiles")
    shuffled = torch.randperm(len(labels), generator=rng)
    _, inverse, counts = labels.unique(return_inverse=True, return_counts=True)
    by_class = grouped.places(inverse, len(counts), shuffled)
    offsets = torch.rand(len(counts), generator=rng, dtype=torch.float64)
    positions = (by_class.rank + offsets[by_class.labels]) / counts[by_class.labels]
    return torch.empty(len(labels), dtype=torch.float64).scatter_(0, by_class.order, positions)


def part_bounds(text: str) -> tuple[float, float]:
    """The two ends of a part as shares of 1.

    >>> part_bounds("60-70%")
    (0.6, 0.7)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)%?", text)
    low, high = (float(end) for end in match.groups()) if match else (1.0, 0.0)
    if not low < high <= 100:
        raise OutskirtsError(f"The part '{text}' is not a range of per cent such as 0-60%.")
    return low / 100, high / 100


def position_bounds(text: str) -> tuple[int, int]:
    """The first and the last of consecutive positions.

    >>> position_bounds("500-999")
    (500, 999)
    """
    match = re.fullmatch(r"(\d{1,15})-(\d{1,15})", text)
    first, last = (int(end) for end in match.groups()) if match else (1, 0)
    if last < first:
        raise OutskirtsError(f"The positions '{text}' are not a range such as 0-499, counted from 0, with both ends.")
    return first, last


def class_positions(chosen: str | Sequence[str], classes: Sequence[str], where: str) -> list[int]:
    """The positions of the chosen classes, in the order given.

    Arguments:
        chosen: Names, or a text such as ``"0-5,8"`` or ``"cat,dog"``: what is not a name is a position, or a
            range of positions with both ends included. In a text, ``%2C`` stands for a comma in a name.
        classes: Names of all classes.
        where: How errors call the set.

    >>> class_positions("0-1,truck", ["airplane", "bird", "cat", "truck"], "a set")
    [0, 1, 3]
    """
    positions: list[int] = []
    for token in chosen.split(",") if isinstance(chosen, str) else chosen:
        if isinstance(chosen, str) and token not in classes:
            token = decoded(token)
        span = re.fullmatch(r"(\d+)(?:-(\d+))?", token)
        if token in classes:
            positions.append(classes.index(token))
        elif span:
            first, last = int(span[1]), int(span[2] or span[1])
            if not first <= last < len(classes):
                raise OutskirtsError(
                    f"There are no classes {token} in {where}: it has {len(classes)} classes, which count from 0."
                )
            positions.extend(range(first, last + 1))
        else:
            raise unknown("class", token, classes, f"in {where}")
    return list(dict.fromkeys(positions))
