"""What detectors ask of their parameters and of the outputs given, or an error that says what is amiss."""

from __future__ import annotations

import math
from typing import TypeVar

from torch import Tensor

from ...errors import OutskirtsError
from ...extraction.outputs import Outputs
from ...models.heads import Head

__all__ = ["checked", "linear_head", "require_images", "training_labels", "training_rows"]

Number = TypeVar("Number", int, float)


def checked(
    who: str,
    what: str,
    value: Number,
    *,
    above: float = -math.inf,
    least: float = -math.inf,
    most: float = math.inf,
) -> Number:
    """The value of a parameter, if it lies within the limits."""
    if above < value < math.inf and least <= value <= most:
        return value
    limits = {"above": above, "at least": least, "at most": most}
    wanted = " and ".join(f"{words} {limit:g}" for words, limit in limits.items() if math.isfinite(limit))
    raise OutskirtsError(f"The parameter {what} of the detector '{who}' is {value}; it must be {wanted}.")


def linear_head(outputs: Outputs, who: str) -> Head:
    """The linear head in float64: weight [C, D] and bias [C]."""
    if outputs.head is None:
        raise OutskirtsError(
            f"The detector '{who}' needs the classifier's linear head, which these outputs lack; "
            "pass Outputs(..., head=osk.Head(weight, bias)) or choose a detector without it."
        )
    return Head(*(part.double() for part in outputs.head))


def require_images(outputs: Outputs, who: str) -> None:
    """Raise unless there is an image to fit on."""
    if not len(outputs):
        raise OutskirtsError(f"The detector '{who}' was given no images to fit on.")


def training_rows(outputs: Outputs, who: str) -> Tensor:
    """The features to fit on, [N, D] with N at least 1."""
    features = outputs.need("features", who)
    require_images(outputs, who)
    return features


def training_labels(outputs: Outputs, who: str) -> Tensor:
    """The labels to fit on, [N] with N at least 1, none of them negative."""
    labels = outputs.need("labels", who)
    training_rows(outputs, who)
    if labels.min() < 0:
        raise OutskirtsError(
            f"The detector '{who}' fits on in-distribution images, but {int((labels < 0).sum())} of "
            f"{len(labels)} labels are negative; a negative label marks an out-of-distribution image."
        )
    return labels
