"""Images that were made elsewhere: brought to one size, judged, and kept as a pool."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from ...data.imageset import ImageSet
from ...data.sources import open as open_images
from ...data.transform import Transform
from ...errors import OutskirtsError
from ...seeding import generator
from ...texts import counted
from ...training.loop import TrainingProgress
from .base import Config, ImageGenerator, register

__all__ = ["Folder", "FolderConfig"]


@dataclass(frozen=True)
class FolderConfig(Config):
    """Images made elsewhere."""

    source: str | None = None
    """Images of the training classes, as a spec such as folder:DIR or npy:FILE?labels=FILE. Required."""

    def require_complete(self) -> None:
        if not self.source:
            raise OutskirtsError("Say where the images are: --source SPEC, such as --source folder:DIR.")


@register("folder")
class Folder(ImageGenerator[FolderConfig]):
    """Images made elsewhere, each once, in a random order."""

    Config = FolderConfig

    @cached_property
    def _source(self) -> ImageSet:
        assert self.config.source is not None
        return open_images(self.config.source)

    def seen(self, images: ImageSet) -> list[str]:
        return [*images.keys, *self._source.keys]

    def fit(self, images: ImageSet, transform: Transform, folder: Path, progress: TrainingProgress) -> Self:
        self.images = self._source.align(images.classes)
        self.transform = transform
        self.rows = [(self.images.labels == c).nonzero().flatten() for c in range(len(images.classes))]
        return self

    def sample(self, labels: Tensor, numbers: Tensor, seed: int) -> Tensor:
        chosen = []
        for label, number in zip(labels.tolist(), numbers.tolist()):
            rows = self.rows[label]
            if number >= len(rows):
                raise OutskirtsError(
                    f"{self.config.source} has {counted(len(rows), 'image')} of the class "
                    f"'{self.images.classes[label]}', but more are needed; ask for fewer (--count), or loosen "
                    "the rules that reject images."
                )
            order = torch.randperm(len(rows), generator=generator(seed, "folder", label))
            chosen.append(rows[order[number]])
        return self.images.subset(torch.stack(chosen)).resident(self.transform)[0]
