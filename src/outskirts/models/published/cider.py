"""CIDER's checkpoints, https://github.com/deeplearning-wisc/cider."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .layout import Pairs, Published, encoder, named, pixels, projection, prototypes, resnet

__all__ = ["cider"]

#: One for both CIFAR sets.
_SMALL = ((0.491, 0.482, 0.447), (0.247, 0.244, 0.262))


def cider(checkpoint: Mapping[str, Any], backbone: str, classes: int) -> Published:
    """An encoder and a projection; the prototypes lie beside the state dict."""

    def rename(name: str, value: Tensor) -> Pairs | None:
        part, _, rest = name.partition(".")
        if part == "encoder":
            return encoder(rest, value)
        if part == "head":
            return [(f"head.projection.{rest}", value)]
        # A linear layer that the losses never reach.
        return [] if part == "fc" else None

    state, left = named(checkpoint, rename)
    backbone = backbone or resnet(state)
    settings = projection(state)
    state |= prototypes(checkpoint, "dis_state_dict")
    return Published("cider", backbone, state, pixels(backbone, _SMALL, classes), settings, left)
