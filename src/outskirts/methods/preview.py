"""Outliers that a method would train with, to look at: a contact sheet of images, or a plane of features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from .. import grouped, seeding
from ..data.imageset import ImageSet
from ..data.loading.batches import Batch
from ..data.notes import require_sound
from ..errors import OutskirtsError
from ..figures.contact_sheet import contact_sheet, denormalized, save_png
from ..figures.scatter import plane
from ..files import atomic, save_json
from ..synthesis.outliers import Outliers
from .base import Method

__all__ = ["synthesize"]

#: Outliers of a picture in feature space: enough to see where they lie.
_OUTLIERS = 200


def synthesize(
    method: Method,
    image_set: ImageSet,
    folder: Path,
    *,
    features: tuple[Tensor, Tensor] | None = None,
    seed: int = 0,
    epoch: int = 1,
    epochs: int = 1,
    skip_corrupt: bool = False,
) -> Outliers | None:
    """Make outliers as the method would, and write a picture of them.

    Writes ``outliers.png`` and ``outliers.json``, its caption and the diagnostics. Of outliers that are images, one of
    each image of the set, the picture is a contact sheet of sources above outliers; of those that are features, a
    plane with the features that they are made of.

    Arguments:
        method: Trained, or not.
        image_set: Labelled like the method's classes.
        folder: Where the files go.
        features: Features of training images, [N, D], and their labels, [N]; for methods that recall them.
        seed: Seed of the synthesis.
        epoch: Epoch of the training, counted from 1, whose strength is used.
        epochs: Number of epochs of the whole training.
        skip_corrupt: Leave out images that cannot be decoded.

    Returns:
        The outliers; None if the method makes none.
    """
    transform = method.classifier.transform
    images, labels = image_set.resident(transform, skip_corrupt=skip_corrupt)
    require_sound(image_set)
    if int(labels.min()) < 0:
        raise OutskirtsError(f"{image_set.spec} has images without a label; outliers are made of labelled images.")
    batch = Batch((transform.device(images),), labels, epoch, epochs, seeding.generator(seed, "synthesise"))
    if features is not None:
        order = grouped.latest(features[1], len(method.classifier.classes), method.queue_size)
        features = features[0][order], features[1][order]
        method.fill_queue(*features)
    outliers = method.eval().outliers(batch)
    if outliers is None:
        return None
    if outliers.values.ndim == 4 and image_set.pictures:
        save_png(folder / "outliers.png", contact_sheet([images, denormalized(outliers.values, transform)]))
        caption = f"Images of {image_set.spec} above the outliers that '{method.name}' makes of them."
        _describe(folder, caption, outliers)
    if outliers.values.ndim == 2 and features is not None:
        outliers = _more(outliers, lambda: method.outliers(batch))
        _save_plane(folder / "outliers.png", *features, outliers, method.classifier.classes)
        caption = (
            f"Features of training images and the outliers that '{method.name}' makes of them. All have unit "
            "length, and are shown in the plane in which the classes differ most. Points that overlap here "
            f"may lie apart in other dimensions; there are {outliers.values.shape[1]:,}."
        )
        _describe(folder, caption, outliers, drawing=True)
    return outliers


def _describe(folder: Path, caption: str, outliers: Outliers, **about: bool) -> None:
    info = {key: value.item() for key, value in outliers.info.items() if value.numel() == 1}
    save_json(folder / "outliers.json", {"caption": caption, **about, **info})


def _more(outliers: Outliers, again: Callable[[], Outliers | None]) -> Outliers:
    """Enough outliers for a picture, where a step takes few of each class; with the scalars of the first step."""
    made = [outliers]
    while sum(map(len, made)) < _OUTLIERS and (more := again()) is not None:
        made.append(more)
    rows = {key: torch.cat([one.info[key] for one in made]) for key, value in outliers.info.items() if value.ndim}
    return Outliers(
        torch.cat([one.values for one in made]), torch.cat([one.labels for one in made]), {**outliers.info, **rows}
    )


def _save_plane(path: Path, features: Tensor, labels: Tensor, outliers: Outliers, classes: Sequence[str]) -> None:
    info = dict(outliers.info)
    if "boundary" in info:
        # From the row of a class to that of all features.
        rows, _ = grouped.table(labels, len(classes))
        info["boundary"] = rows[outliers.labels, info["boundary"]]
    figure = plane(features, labels, replace(outliers, info=info), classes)
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=200)
