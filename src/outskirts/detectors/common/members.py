"""Fitting the detectors that a detector is made of."""

from __future__ import annotations

from collections.abc import Iterable

from ...extraction.outputs import Outputs
from ..base import Detector
from .inputs import require_images

__all__ = ["fit_members"]


def fit_members(members: Iterable[Detector], outputs: Outputs, val: Outputs | None, who: str) -> Outputs:
    """Fit each member, in place, on the split that it learns from.

    Arguments:
        members: Detectors, fitted or not.
        outputs: Outputs of the training images.
        val: Outputs of the validation images. Without them, training images have to do, which some detectors remember.
        who: The detector that is made of them, for errors.

    Returns:
        The outputs to calibrate on: those of validation images, where there are any.

    Raises:
        OutskirtsError: If there is no image to fit on.
    """
    val = outputs if val is None else val
    require_images(outputs, who)
    require_images(val, who)
    for member in members:
        member.fit(val if member.fit_on == "val" else outputs)
    return val
