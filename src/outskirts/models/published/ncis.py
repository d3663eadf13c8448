"""NCIS's checkpoints, https://github.com/LarsDoorenbos/NCIS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ...data.transform import IMAGENET
from .layout import Pairs, Published, classifier, named, pixels, resnet

__all__ = ["ncis"]

#: That of CIFAR-10 for both CIFAR sets.
_SMALL = ((0.4914, 0.4824, 0.4467), (0.2471, 0.2435, 0.2616))


def ncis(checkpoint: Mapping[str, Any], backbone: str, classes: int) -> Published:
    """A ResNet with a small stem, for large images too, and a linear layer."""

    def rename(name: str, value: Tensor) -> Pairs:
        return classifier(name.removeprefix("encoder."), value)

    # How energies were told apart in training takes no part in a score, and is in no file.
    state, left = named(checkpoint, rename)
    backbone = backbone or resnet(state)
    # Images of ImageNet go through the same small stem.
    return Published("ce", backbone, state, pixels(backbone, _SMALL, classes), {}, left, large=IMAGENET)
