"""The training images that are nearest to images of requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..data.decode import picture
from ..data.sources import open_split
from ..devices import resolve_device
from ..extraction.forward import PassOptions
from ..guard.gallery import short_names
from ..guard.guard import Guard
from ..guard.nearest import unit_features
from ..reporting.pictures import thumbnail
from .uploads import Upload, Uploads

__all__ = ["Neighbours"]


class Neighbours:
    """Training images, whose features are computed once.

    Arguments:
        guard: The guard.
        train: Spec of the training images.
        device: Device of the network.

    Raises:
        OutskirtsError: If they cannot be read, or the classifier gives no features.
    """

    def __init__(self, guard: Guard, train: str, device: str) -> None:
        self.guard, self.train = guard, open_split(train, "train")
        self.options = PassOptions(guard.precision, device=resolve_device(device), skip_corrupt=True)
        parts = list(unit_features(guard, self.train, self.options))
        self._places = torch.cat([places for places, _ in parts])
        self._rows = torch.cat([rows for _, rows in parts])
        self._names = short_names([self.train.name(place) for place in range(len(self.train))])

    def __call__(self, uploads: Sequence[Upload], k: int) -> dict[int, list[dict[str, Any]]]:
        """The k nearest of each image that can be read, by its position: name, label, distance and a small picture."""
        near: dict[int, list[dict[str, Any]]] = {}
        for places, rows in unit_features(self.guard, Uploads(uploads), self.options):
            cosines, columns = (rows @ self._rows.T).topk(min(k, len(self._rows)), dim=1)
            distances = (2 - 2 * cosines).clamp_min(0).sqrt()
            for place, of, at in zip(places.tolist(), self._places[columns].tolist(), distances.tolist()):
                near[place] = [self._shown(*pair) for pair in zip(of, at)]
        return near

    def _shown(self, place: int, distance: float) -> dict[str, Any]:
        label = int(self.train.labels[place])
        shown = picture(self.train.image(place, self.guard.classifier.transform.reading))
        return {
            "name": self._names[place],
            "label": self.train.classes[label] if label >= 0 else None,
            "distance": distance,
            "picture": thumbnail(shown),
        }
