"""What may be stated of the transform of a classifier that was trained elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..bounds import Some
from ..models.given import parse_model
from ..texts import CommaSeparated

__all__ = ["Stated"]


@dataclass(frozen=True)
class Stated:
    """Preprocessing of images for a classifier that was trained elsewhere; a run knows its own."""

    mean: CommaSeparated | None = None
    """Mean of each channel on the scale of 0 to 1, such as 0.5,0.5,0.5. Default: as for its weights."""
    std: CommaSeparated | None = None
    """Standard deviation of each channel on the same scale. Default: as for its weights."""
    interpolation: Literal["bilinear", "bicubic"] | None = None
    """How images are resized. Default: as for its weights."""
    crop: Some | None = None
    """Share of the resized image that is kept, above 0 and at most 1. Default: as for its weights."""
    fit: Literal["crop", "squash", "pad"] | None = None
    """How images that are not square fit: their centre is kept (crop), they are squashed, or a border is added (pad).
    Default: as for its weights."""
    exif: Literal["apply", "ignore"] | None = None
    """Whether images are turned upright as their EXIF data says (apply), or not (ignore). Default: apply."""

    def of(self, model: str) -> str:
        """The text of a classifier, with what is stated."""
        options = {name: str(value) for name, value in vars(self).items() if value is not None}
        return str(parse_model(model).with_options(**options))
