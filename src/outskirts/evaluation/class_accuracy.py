"""The accuracy of each class, and what a reader should know of classes that differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import grouped
from ..extraction.outputs import Outputs
from ..texts import counted, listed
from .intervals import Interval, balanced_accuracy_interval, wilson_interval

__all__ = ["ClassAccuracy", "balanced_accuracy", "class_accuracies", "never_predicted", "uneven"]

#: Accuracies differ much where the intervals of the best and of the worst class are this far apart.
_GAP = 0.2


@dataclass(frozen=True)
class ClassAccuracy:
    """The accuracy on the images of one class, with its 95 % interval.

    Arguments:
        label: The class.
        n: How many images it has.
        predicted: How many images, of any class, the network takes for it.
    """

    label: str
    n: int
    predicted: int
    accuracy: float
    accuracy_lo: float
    accuracy_hi: float


def class_accuracies(outputs: Outputs, classes: Sequence[str]) -> list[ClassAccuracy]:
    """The accuracy of every class that has images, in the order of the classes.

    Arguments:
        outputs: Outputs of N labelled images.
        classes: Names of the classes.

    >>> outputs = Outputs(torch.eye(3)[[0, 0, 1]], torch.eye(3)[[0, 0, 1]], torch.tensor([0, 0, 2]))
    >>> [(one.label, one.n, one.predicted, one.accuracy) for one in class_accuracies(outputs, ["cat", "dog", "owl"])]
    [('cat', 2, 2, 1.0), ('owl', 1, 0, 0.0)]
    """
    labels, predicted = outputs.need("labels", "accuracy"), outputs.need("logits", "accuracy").argmax(1)
    columns = [grouped.counts(rows, len(classes)) for rows in (labels, predicted, labels[predicted == labels])]
    return [
        ClassAccuracy(label, n, chosen, right / n, *wilson_interval(right, n))
        for label, n, chosen, right in zip(classes, *(column.tolist() for column in columns))
        if n
    ]


def balanced_accuracy(labels: Tensor, right: Tensor, photographs: Tensor | None = None) -> tuple[float, Interval]:
    """The mean accuracy of the classes that have images, and its 95 % interval.

    Arguments:
        labels: The class of each image, [N].
        right: Whether each is predicted, bool [N].
        photographs: The number of each image's photograph, [N], which the interval counts; all differ unless given.

    >>> balanced_accuracy(torch.tensor([0, 0, 0, 2]), torch.tensor([True, True, True, False]))[0]
    0.5
    """
    classes = int(labels.max()) + 1
    counts, hits = grouped.counts(labels, classes), grouped.counts(labels[right], classes)
    trials = counts
    if photographs is not None:
        distinct = torch.stack([labels, photographs.to(labels)]).unique(dim=1)
        trials = grouped.counts(distinct[0], classes)
    accuracies, trials = grouped.shares(hits, counts), trials[counts > 0]
    return accuracies.mean().item(), balanced_accuracy_interval(accuracies * trials, trials)


def never_predicted(classes: Sequence[ClassAccuracy]) -> str | None:
    """A sentence that names the classes with images that the network predicts for none of all; None without such."""
    never = [f"'{one.label}' ({counted(one.n, 'image')})" for one in classes if not one.predicted]
    if not never:
        return None
    return f"The network never predicts {counted(len(never), 'class')} on the ID test images: {listed(never)}."


def uneven(classes: Sequence[ClassAccuracy]) -> str | None:
    """A sentence on classes whose accuracies differ much; None if they do not, or so few images cannot tell."""
    best, worst = max(classes, key=lambda one: one.accuracy_lo), min(classes, key=lambda one: one.accuracy_hi)
    if best.accuracy_lo - worst.accuracy_hi < _GAP:
        return None
    told = [f"{one.accuracy:.1%} ('{one.label}', {counted(one.n, 'image')})" for one in (worst, best)]
    mean = sum(one.accuracy for one in classes) / len(classes)
    return f"The accuracy of classes differs much, from {told[0]} to {told[1]}; their mean is {mean:.1%}."
