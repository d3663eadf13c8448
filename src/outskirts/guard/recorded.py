"""The image sets that a guard was made of, as far as it remembers them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..data.imageset import ImageSet
from ..errors import OutskirtsError
from ..evaluation.results import ID
from ..texts import listed

__all__ = ["require_other_sets"]

#: What was done with each of the sets that a guard records.
_USES = {
    "calibration": "its threshold was calibrated on them",
    "training": "its classifier was trained on them",
    "validation": "its classifier or its detector was chosen on them",
    "tuning": "its detector was chosen on them",
}


def require_other_sets(data: Mapping[str, Mapping[str, Any]], sets: Mapping[str, ImageSet]) -> str:
    """Raise if a set to measure a guard on is one that it was made of.

    Arguments:
        data: Records of the sets that it was made of, by name.
        sets: Sets to measure it on, by name, labelled by the classes of the guard where they have them.

    Returns:
        What cannot be checked, in a sentence.
    """
    for name, images in sets.items():
        for known, record in data.items():
            if images.fingerprint_as(record["fingerprint"]) == record["fingerprint"]:
                which = "The ID test images" if name == ID else f"The images of '{name}'"
                raise OutskirtsError(
                    f"{which} ({images.spec}) are the {known} images of the guard: "
                    f"{_USES.get(known, 'it was made of them')}. Measure it on other images."
                )
    if not data:
        return "The guard keeps no record of the images that it was made of, so nothing tells whether these are others."
    return (
        f"The guard keeps a fingerprint of each whole set that it was made of ({listed(list(data))}), and none of "
        "these sets is one of them. It keeps none of single images, so nothing tells whether some are in both."
    )
