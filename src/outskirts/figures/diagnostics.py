"""What the log of a training says beyond losses and accuracy: how classes lie, what outliers are like, warnings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

__all__ = ["Diagnostic", "Warned", "diagnostics", "warned"]

Record = Mapping[str, Any]
Curve = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Diagnostic:
    """A chart of the training.

    Arguments:
        title: Title of the chart.
        explanation: What it shows and what is good.
        unit: Unit of all curves.
        span: What the axis reaches from and to, at least.
        names: What to call each scalar of the log.
        step: Between the axis's ticks, where it matters.
        scale: What to multiply the scalars by.
        chance: What guessing reaches, in the unit.
        of_outliers: Whether the scalars mean nothing while there are no outliers.
        curves: Epochs and values by name; those of the log that has been read.
    """

    title: str
    explanation: str
    unit: str
    span: tuple[float, float]
    names: Mapping[str, str]
    step: float | None = None
    scale: float = 1.0
    chance: float | None = None
    of_outliers: bool = False
    curves: Mapping[str, Curve] = field(default_factory=dict)


@dataclass(frozen=True)
class Warned:
    """What the steps of a training, or its validations, warned of.

    Arguments:
        text: The latest warning.
        first: The epoch at which it first occurred.
        last: The epoch at which it last occurred.
        past: Whether the training went on without it.
    """

    text: str
    first: float
    last: float
    past: bool


_KINDS = (
    Diagnostic(
        "Angles between classes",
        "Prototypes are the centres of the classes. They should lie far from each other, at about 90 degrees "
        "or more. Images should lie close to the prototype of their own class.",
        "degrees",
        (0, 90),
        {
            "angle_between": "between prototypes, mean",
            "angle_nearest": "nearest two prototypes",
            "angle_own": "image to own prototype",
        },
        step=30,
    ),
    Diagnostic(
        "Classes with outliers",
        "Outliers of a class are made from its latest images. A class takes part as soon as enough of them are kept.",
        "classes ready, %",
        (0, 100),
        {"ready": "classes ready"},
        scale=100,
    ),
    Diagnostic(
        "Distance from the class",
        "How far outliers lie from the images of their class. The farthest of many candidates are kept.",
        "squared distance",
        (0, 0),
        {
            "kept_distance": "candidates kept",
            "rejected_distance": "candidates rejected",
            "boundary_distance": "images at the boundary",
        },
        of_outliers=True,
    ),
    Diagnostic(
        "Images and outliers told apart",
        "How often a small network beside the classifier tells images and outliers apart. Both count the "
        "same. The dashed line is guessing.",
        "accuracy, %",
        (0, 100),
        {"outlier_accuracy": "accuracy"},
        scale=100,
        chance=50,
        of_outliers=True,
    ),
)


def diagnostics(records: Sequence[Record]) -> list[Diagnostic]:
    """The charts that a log has the scalars of."""
    training = [record for record in records if record["kind"] == "train"]
    # A record is an average over steps; the first with outliers may average over steps without them.
    with_outliers = [record for before, record in pairwise(training) if _outliers(before) and _outliers(record)]
    charts = []
    for kind in _KINDS:
        source = with_outliers if kind.of_outliers else training
        curves = {
            name: [(record["epoch"], kind.scale * record[key]) for record in source if key in record]
            for key, name in kind.names.items()
        }
        if curves := {name: curve for name, curve in curves.items() if curve}:
            charts.append(replace(kind, curves=curves))
    return charts


def _outliers(record: Record) -> bool:
    """Whether there were outliers: without them, their scalars are 0."""
    return record.get("ready", record.get("outlier_accuracy", 0)) > 0


def warned(records: Sequence[Record]) -> list[Warned]:
    """The warnings in a log: at most one of the steps, and one of the validations."""
    found = []
    for kind in ("train", "val"):
        of_kind = [record for record in records if record["kind"] == kind]
        if warnings := [record for record in of_kind if record.get("warning")]:
            first, last = warnings[0], warnings[-1]
            found.append(Warned(last["warning"], first["epoch"], last["epoch"], last is not of_kind[-1]))
    return found
