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

__all__ = [
    "class_positions",
    "correlated",
    "evenly_spaced",
    "joined",
    "part_bounds",
    "position_bounds",
    "quantiles",
    "renumbered",
]


def quantiles(labels: Tensor, seed: int, group: Tensor | None = None) -> Tensor:
    """A random position from 0 to 1 for each image, evenly spread within every class, the same within a group.

    Images below 0.6 are 60 % of each class, and the n lowest are n images in the proportions of the classes;
    where these are not whole numbers, chance decides which class gets one more.

    Groups stand in a random order in the rarest class that they have images of, each with as much room as it has
    images; their position is at the same share of this room for the whole class. So the images in a range of positions
    differ from the share that the range is of all by less than the largest group of each class.

    Arguments:
        labels: [N], any integers.
        seed: Equal seeds give equal positions.
        group: The group of each image, any integers [N]; each image is its own group unless given.

    Returns:
        [N], float64.

    >>> below = quantiles(torch.tensor([0] * 10 + [1] * 20), seed=0) < 0.6
    >>> below[:10].sum().item(), below[10:].sum().item()
    (6, 12)
    """
    rng = generator(seed, "quantiles")
    shuffled = torch.randperm(len(labels), generator=rng)
    _, of_class, counts = labels.unique(return_inverse=True, return_counts=True)
    offsets = torch.rand(len(counts), generator=rng, dtype=torch.float64)
    if group is None:
        return _positions(of_class, torch.ones_like(of_class), shuffled, offsets)
    _, of_group, sizes = group.unique(return_inverse=True, return_counts=True)
    rarest = counts.argsort(stable=True)
    homes = rarest[torch.full_like(sizes, len(counts)).scatter_reduce(0, of_group, rarest.argsort()[of_class], "amin")]
    first = torch.full_like(sizes, len(labels)).scatter_reduce(0, of_group, shuffled.argsort(), "amin")
    return _positions(homes, sizes, first.argsort(), offsets)[of_group]


def _positions(classes: Tensor, sizes: Tensor, order: Tensor, offsets: Tensor) -> Tensor:
    """Where groups stand in their classes.

    Arguments:
        classes: The class of each group, [G], from 0.
        sizes: The images of each group, [G].
        order: The groups in the order in which they stand, [G].
        offsets: The share of a group's room at which its position is, for each class.
    """
    by_class = grouped.places(classes, len(offsets), order)
    room = sizes[by_class.order]
    totals = torch.zeros(len(offsets), dtype=torch.long).scatter_add_(0, by_class.labels, room)
    before = room.cumsum(0) - room - (totals.cumsum(0) - totals)[by_class.labels]
    positions = (before + offsets[by_class.labels] * room) / totals[by_class.labels]
    return torch.empty(len(classes), dtype=torch.float64).scatter_(0, by_class.order, positions)


def joined(keys: Sequence[str], group: Tensor | None = None) -> Tensor | None:
    """The groups of images, int64 [N], those that have copies of one image made one; None if each is its own.

    Arguments:
        keys: What copies of an image share; of images without any, empty.
        group: The group of each image, any integers [N]; each image is its own group unless given.

    >>> joined(["a", "b", "a", "c"]).tolist()
    [0, 1, 0, 3]
    """
    if len({*keys} - {""}) == sum(map(bool, keys)):
        return group
    own = torch.arange(len(keys)) if group is None else group.unique(return_inverse=True)[1]
    joins = list(range(len(keys)))

    def root(number: int) -> int:
        while joins[number] != number:
            joins[number] = number = joins[joins[number]]
        return number

    first: dict[str, int] = {}
    for key, number in zip(keys, own.tolist()):
        if key:
            joins[root(number)] = root(first.setdefault(key, number))
    return torch.tensor([root(number) for number in own.tolist()])


def correlated(labels: Tensor, values: Tensor, classes: int, percent: int, seed: int) -> Tensor:
    """The images that `ImageSet.correlated` chooses, int64 [n], sorted.

    Arguments:
        labels: Class of each image, [N].
        values: Which value of the attribute each image has, [N].
        classes: Number of classes.
        percent: The share of images whose class and value agree, from 50 to 99.
        seed: Equal seeds choose the same.
    """
    if not 50 <= percent < 100:
        raise OutskirtsError(
            f"The share of images whose class and attribute agree must be from 50 to 99 %, not {percent}."
        )
    usual = labels == values
    rare = torch.bincount(labels[~usual], minlength=classes)
    most = percent * int(rare.min()) // (100 - percent)
    order = quantiles(labels, seed).argsort()
    chosen = [order[usual[order] & (labels[order] == label)][:most] for label in range(classes)]
    return torch.cat([(~usual).nonzero().flatten(), *chosen]).sort().values


def evenly_spaced(count: int, most: int) -> Tensor:
    """At most so many positions from 0 to `count` - 1, both ends included, int64 [n].

    >>> evenly_spaced(9, 3).tolist(), evenly_spaced(2, 3).tolist()
    ([0, 4, 8], [0, 1])
    """
    return torch.linspace(0, count - 1, min(most, count)).long()


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


def renumbered(labels: Tensor, numbers: Sequence[int]) -> Tensor:
    """Labels in another numbering of the classes, int64 [N]; an image without a label, -1, has none afterwards.

    Arguments:
        labels: Class of each image, or -1, [N].
        numbers: The new number of each class; -1 where it becomes none.

    >>> renumbered(torch.tensor([0, 2, -1, 1]), [1, -1, 0]).tolist()
    [1, 0, -1, -1]
    """
    # The last entry is where -1 points.
    return torch.tensor([*numbers, -1])[labels]
