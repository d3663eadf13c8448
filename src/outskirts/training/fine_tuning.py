"""The recipe of trainings that begin with trained weights."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

__all__ = ["BEGINNING", "FINE_TUNING", "begins_trained"]

#: The options that tell what a training begins with.
BEGINNING = ("backbone", "pretrained", "init")

#: Options in place of the defaults, whose rate and batch would undo what trained weights know. They were chosen on the
#: validation images of three sets of photographs: `benchmarks/own_images.py`.
FINE_TUNING: Mapping[str, Any] = MappingProxyType({"lr": 0.02, "batch_size": 64, "augment": "resized-crop:0.3:1,flip"})


def begins_trained(options: Mapping[str, Any]) -> bool:
    """Whether a training of these options begins with trained weights; those of a user's own network count as such.

    >>> begins_trained({"backbone": "fast"}), begins_trained({"init": "runs/ce"})
    (False, True)
    """
    backbone, *weights = (options.get(name) for name in BEGINNING)
    return str(backbone).startswith(("clip:", "custom:")) or any(weights)
