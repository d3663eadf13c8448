"""The recipe of trainings that begin with trained weights."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

__all__ = ["FINE_TUNING", "begins_trained"]

#: Options in place of the defaults, whose rate and batch would undo what trained weights know. They were chosen on the
#: validation images of three sets of photographs: `benchmarks/own_images.py`.
FINE_TUNING: Mapping[str, Any] = MappingProxyType({"lr": 0.02, "batch_size": 64, "augment": "resized-crop:0.3:1,flip"})


def begins_trained(options: Mapping[str, Any]) -> bool:
    """Whether a training of these options begins with trained weights; those of a user's own network count as such.

    >>> begins_trained({"backbone": "fast"}), begins_trained({"init": "runs/ce"})
    (False, True)
    """
    own = str(options.get("backbone", "")).startswith(("clip:", "custom:"))
    return own or bool(options.get("pretrained") or options.get("init"))
