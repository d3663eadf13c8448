"""The images that a guard was made of, which cannot measure it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from ..data.imageset import ImageSet
from ..data.keyset import KeySet
from ..data.leakage import TOLERATED
from ..errors import OutskirtsError
from ..evaluation.results import ID
from ..texts import verb

__all__ = ["unseen_by"]

#: What was done with images that a guard was made of; other kinds trained its classifier.
_USES = {
    "calibration": "Its threshold was calibrated on them.",
    "validation": "Its classifier or its detector was chosen on them.",
    "tuning": "Its detector was chosen on them.",
}


def unseen_by(seen: Mapping[str, KeySet], sets: Mapping[str, ImageSet], notes: list[str]) -> dict[str, ImageSet]:
    """The sets to measure a guard on, without the few images that it was made of.

    Arguments:
        seen: Keys of the images that it was made of, by what they are.
        sets: Sets to measure it on, by name.
        notes: Gets sentences on images that are left out, and on what cannot be told.

    Raises:
        OutskirtsError: If more images of a set than real sets have copies are among them.
    """
    if missing := [kind for kind in ("calibration", "training") if kind not in seen]:
        notes.append(
            f"The guard does not know its {' and '.join(missing)} images, so nothing tells whether these are others."
        )
    return {name: _unseen(name, images, seen, notes) for name, images in sets.items()}


def _unseen(name: str, images: ImageSet, seen: Mapping[str, KeySet], notes: list[str]) -> ImageSet:
    which = "ID test images" if name == ID else f"images of '{name}'"
    left = np.ones(len(images), dtype=bool)
    for kind, keys in seen.items():
        among = keys.among(images)
        if not (count := int(among.sum())):
            continue
        these = f"{count:,} of the {len(images):,} {which} ({images.spec})"
        found = f"{these} {verb(count, 'are')} among the {kind} images of the guard"
        # A small set may have one copy, as large ones have a few.
        if count > max(1, TOLERATED * len(images)):
            use = _USES.get(kind, "Its classifier learnt from them.")
            raise OutskirtsError(f"{found}. {use} Measure it on other images.")
        notes.append(f"{found}, and {verb(count, 'are')} left out.")
        left &= ~among
    return images if left.all() else images.subset(torch.from_numpy(left))
