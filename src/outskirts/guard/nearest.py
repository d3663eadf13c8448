"""The training images that are nearest to some images, in the features of a guard."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..data.imageset import ImageSet
from ..errors import OutskirtsError
from ..extraction.forward import PassOptions
from ..extraction.stream import stream
from ..telling import Progress, nobody
from .parts import Parts

__all__ = ["Nearest", "nearest", "unit_features"]


class Nearest(NamedTuple):
    """The k nearest training images of N images, the nearest first.

    Arguments:
        places: Positions in the training set, int64 [N, k].
        distances: Euclidean distances of features at unit length, [N, k], from 0 to 2.
    """

    places: Tensor
    distances: Tensor


def nearest(
    parts: Parts, images: ImageSet, train: ImageSet, k: int, options: PassOptions, progress: Progress = nobody
) -> Nearest:
    """Find them in one pass over the training images, of which nothing is kept.

    Features are brought to unit length, as by the detector ``knn``.

    Arguments:
        parts: The guard.
        images: N images.
        train: Training images.
        k: How many are found for each; all of them where there are fewer.
        options: How images go through the network.
        progress: Told of the training images forwarded.

    Raises:
        OutskirtsError: If there is no training image, or the classifier gives no features.
    """
    if not len(train):
        raise OutskirtsError(f"There are no training images to compare with: {train.spec or 'the set'} holds none.")
    rows = torch.cat([features for _, features in unit_features(parts, images, options)])
    best = torch.full((len(rows), 0), -torch.inf)
    places = torch.empty(len(rows), 0, dtype=torch.int64)
    done = 0
    for at, features in unit_features(parts, train, options):
        cosines = torch.cat([best, rows @ features.T], dim=1)
        places = torch.cat([places, at.expand(len(rows), -1)], dim=1)
        best, columns = cosines.topk(min(k, cosines.shape[1]), dim=1)
        places = places.gather(1, columns)
        done += len(at)
        progress("nearest training images", done, len(train))
    return Nearest(places, (2 - 2 * best).clamp_min(0).sqrt())


def unit_features(parts: Parts, images: ImageSet, options: PassOptions) -> Iterator[tuple[Tensor, Tensor]]:
    """Positions [B] of images and their features at unit length [B, D], a batch at a time.

    Arguments:
        parts: The guard.
        images: The images.
        options: How they go through the network.

    Raises:
        OutskirtsError: If the classifier gives no features.
    """
    with closing(stream(parts.classifier, images, (), parts.features, options)) as batches:  # type: ignore[type-var]
        for places, outputs in batches:
            if not outputs.features.shape[1]:
                raise OutskirtsError(
                    "The classifier gives no features, so nothing tells which training images are nearest; leave out "
                    "--train."
                )
            yield places, normalize(outputs.features.float(), dim=1)
