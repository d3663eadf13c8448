"""How a training reads the pixels of its images."""

from __future__ import annotations

from dataclasses import replace

from ..data.imageset import ImageSet
from ..data.levels import measured_reading
from ..data.reading import FIRST, USUAL, Reading
from ..data.sources.token_set import TokenSet
from ..models.classifier import Classifier
from ..telling import Say
from .config import TrainConfig

__all__ = ["training_reading"]


def training_reading(
    images: ImageSet, config: TrainConfig, earlier: Classifier | None, begun: bool, say: Say
) -> Reading:
    """What becomes part of the transform, so that all other images are read alike.

    Arguments:
        images: Training images, by which the range of wide pixels is measured.
        config: The options, with `exif` as given.
        earlier: The classifier that the training begins from.
        begun: Whether the training goes on.
        say: Told of a range that was measured.
    """
    if isinstance(images, TokenSet):
        return images.reading
    # Whoever began such a run knew of no readings: since there are some, it is written how images are turned.
    if begun and config.exif is None:
        return FIRST
    reading = USUAL if earlier is None else earlier.transform.reading
    if config.exif is not None:
        reading = replace(reading, upright=config.exif == "apply")
    return measured_reading(images, reading, config.skip_corrupt, say)
