"""Which images of several sets show one photograph, such as a test image and the same one with noise.

They are no independent samples: an interval that counts each of them is too narrow.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..data.imageset import SUBSET, ImageSet
from ..data.sources.spec import Spec, parse_spec

__all__ = ["photographs"]


def photographs(sets: Mapping[str, ImageSet]) -> dict[str, Tensor]:
    """A number for each image, [N], by the name of its set; equal numbers are of one photograph.

    Images of one source and row are, however they are changed or chosen. Copies in other files are not known to be.

    Arguments:
        sets: Image sets by name.
    """
    numbers: dict[tuple[object, int], int] = {}

    def number(name: str, images: ImageSet) -> list[int]:
        whole: object = id(images.items)
        if not images.spec.endswith(SUBSET):
            spec = parse_spec(images.spec, canonical=True)
            whole = str(Spec(spec.source, spec.arguments, {}, spec.colon))
        return [numbers.setdefault((whole, row), len(numbers)) for row in images.index.tolist()]

    return {name: torch.tensor(number(name, images)) for name, images in sets.items()}
