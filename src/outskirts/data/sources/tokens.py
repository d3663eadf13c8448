"""Folders of tokens that ``outskirts data extract`` wrote."""

from __future__ import annotations

from pathlib import Path

from ..imageset import ImageSet
from ..tokens import open_tokens
from .spec import source

__all__ = ["tokens"]


@source("tokens")
def tokens(where: Path) -> ImageSet:
    """What a frozen trunk said of images, in place of the images: for training and evaluating that network only."""
    return open_tokens(where)
