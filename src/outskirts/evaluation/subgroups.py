"""Accuracy where a class and something else meet, such as water birds on land.

References:
    | Distributionally Robust Neural Networks for Group Shifts: On the Importance of Regularization for Worst-Case
      Generalization (Sagawa et al., 2020)
    | https://arxiv.org/abs/1911.08731
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..data.attribute import Attribute
from ..extraction.outputs import Outputs
from .intervals import wilson_interval

__all__ = ["GroupAccuracy", "group_accuracies", "worst"]


@dataclass(frozen=True)
class GroupAccuracy:
    """The accuracy on the images of one class and one value of an attribute, with its 95 % interval.

    Arguments:
        label: The class.
        value: Value of the attribute.
        n: How many images there are.
    """

    label: str
    value: str
    n: int
    accuracy: float
    accuracy_lo: float
    accuracy_hi: float


def group_accuracies(outputs: Outputs, classes: Sequence[str], attribute: Attribute) -> list[GroupAccuracy]:
    """The accuracy of every group that has images.

    Arguments:
        outputs: Outputs of N labelled images.
        classes: Names of the classes.
        attribute: Attribute of the same images.

    >>> logits = torch.eye(2)[[0, 0, 1, 1]]
    >>> outputs = Outputs(logits, logits, torch.tensor([0, 0, 1, 0]))
    >>> place = Attribute("place", ("land", "water"), torch.tensor([0, 0, 1, 1]))
    >>> [(one.label, one.value, one.n, one.accuracy) for one in group_accuracies(outputs, ["cat", "dog"], place)]
    [('cat', 'land', 2, 1.0), ('cat', 'water', 1, 0.0), ('dog', 'water', 1, 1.0)]
    """
    labels = outputs.need("labels", "accuracy")
    size = len(attribute.values)
    group = labels * size + attribute.index
    count = torch.bincount(group, minlength=len(classes) * size)
    right = torch.bincount(group[outputs.predicted == labels], minlength=len(count))
    return [
        GroupAccuracy(classes[g // size], attribute.values[g % size], n, k / n, *wilson_interval(k, n))
        for g, (n, k) in enumerate(zip(count.tolist(), right.tolist()))
        if n
    ]


def worst(groups: Sequence[GroupAccuracy]) -> GroupAccuracy:
    """The group with the lowest accuracy."""
    return min(groups, key=lambda one: one.accuracy)
