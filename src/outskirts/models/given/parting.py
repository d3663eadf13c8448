"""A network that was trained elsewhere, taken apart as its text says."""

from __future__ import annotations

import torch
from torch import nn

from ...data.transform import Transform
from ..adapter import adapt
from ..classifier import Backbone
from ..seams import UNKNOWN, Seam, cut
from .spec import ModelSpec

__all__ = ["parted"]


def parted(
    model: nn.Module, spec: ModelSpec, transform: Transform, headless: bool, seam: Seam = UNKNOWN
) -> tuple[Backbone, nn.Module]:
    """The backbone and the head of a network; see `outskirts.models.adapter.adapt`.

    Arguments:
        model: A whole network.
        spec: Text that names it; it may name its head, its logits or its features.
        transform: Shape of the images.
        headless: Whether it returns features, not logits.
        seam: What is known of its head.
    """
    if seam.head is not None:
        return cut(model, seam.head, spec.structure())
    side = seam.side or transform.size
    return adapt(
        model,
        torch.zeros(2, transform.channels, side, side),
        "none" if headless else spec.options.get("head"),
        spec.structure(),
        output=spec.options.get("output"),
        features=spec.options.get("features"),
    )
