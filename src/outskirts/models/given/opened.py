"""What a file, a folder or a library tells of a classifier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from ...data.transform import Transform
from ...errors import OutskirtsError
from ...texts import counted
from ..classifier import Backbone
from .spec import ModelSpec

__all__ = ["Opened", "input_shape"]


@dataclass(frozen=True)
class Opened:
    """A network that others have made.

    Arguments:
        model: Maps images [B, C, H, W] to logits [B, classes], or to features [B, D]; None where `split` is known.
        transform: What happens to an image before it, where that is known.
        classes: Names of the classes in the order of the logits, where they are known.
        headless: Whether it returns features, not logits.
        split: A backbone and a head, where nothing needs to be looked for.
        notes: What is to be said of it.
        about: What builds the network again besides its text, for `outskirts.models.given.rebuilding`.
    """

    model: nn.Module | None
    transform: Transform | None = None
    classes: tuple[str, ...] = ()
    headless: bool = False
    split: tuple[Backbone, nn.Module] | None = None
    notes: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)


def input_shape(spec: ModelSpec, known: tuple[int | None, int | None, int | None]) -> tuple[int, int, int]:
    """Channels, height and width of the images that a network takes.

    Arguments:
        spec: May say size and channels.
        known: What the network tells of them.

    Raises:
        OutskirtsError: If neither tells the size, or both and they differ, or it is not square; if the means are of
            another number of channels.
    """
    size, channels = spec.number("size", int), spec.number("channels", int)
    own_channels, height, width = known
    if height != width:
        raise OutskirtsError(f"'{spec}' takes images of {width}x{height} pixels; outskirts shows square ones alone.")
    if size is None and height is None:
        raise OutskirtsError(f"Nothing tells how large the images are that '{spec}' takes; add size=.")
    for name, given, own in (("size", size, height), ("channels", channels, own_channels)):
        if given is not None and own is not None and given != own:
            raise OutskirtsError(f"'{spec}' says {name}={given}, and the network takes {own}; leave out {name}=.")
    side = size or height
    assert side is not None
    stated = spec.channel_values("mean") or spec.channel_values("std") or ()
    found = channels or own_channels or len(stated) or 3
    if stated and len(stated) != found:
        raise OutskirtsError(
            f"'{spec}' says mean and std of {counted(len(stated), 'channel')}, and the network takes {found}; give a "
            "value for each."
        )
    return found, side, side
