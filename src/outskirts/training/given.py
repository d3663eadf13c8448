"""What the folder of a classifier keeps that was trained elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .config import TrainConfig

__all__ = ["KIND", "Given"]

#: What is written in ``config.yaml``, beside the text of the classifier.
KIND = {
    "classes": [str],
    "data": (str, None),
    "val": (str, None),
    "val_fraction": float,
    "seed": int,
    "reading": (dict, None),
}


@dataclass(frozen=True)
class Given:
    """A classifier that was trained elsewhere, and the images that detectors are fitted on.

    Arguments:
        model: The text that opens it; see `outskirts.models.given`.
        classes: Names of its classes, in the order of its logits.
        data: Spec of its training images; None for images made in Python.
        val: Spec of validation images; a part of the training images is set aside unless given.
        val_fraction: Share of the training images that is set aside.
        seed: Seed of that part, and of the bootstrap.
        reading: What `Reading.to_json` gave of how pixels are read; None as in version 0.1.
    """

    model: str
    classes: list[str]
    data: str | None
    val: str | None
    val_fraction: float
    seed: int
    reading: dict[str, Any] | None = None

    def config(self) -> TrainConfig:
        """What says which images are set aside."""
        return TrainConfig(data=self.data, val=self.val, val_fraction=self.val_fraction, seed=self.seed)
