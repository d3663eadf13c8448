"""torchvision's own sets under their bare names, downloaded when first asked for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import OutskirtsError, unknown
from ..imageset import ImageSet
from ..pixel_array import checked_pixels
from .arrow import parquet
from .labels import class_indices
from .spec import SOURCES, data_folder

__all__ = ["SETS", "torchvision_set"]

Splits = Mapping[str, Mapping[str, Any]]


class _Set(NamedTuple):
    """A class of torchvision.datasets: where it keeps pixels or paths and labels, and how it spells a split.

    Read from there rather than through the dataset, images need no decoding to be identified and files keep
    their names. Without an attribute for labels, images are pairs (path, label).
    """

    name: str
    images: str
    labels: str | None
    splits: Splits


def _named(*splits: str) -> Splits:
    return {split: {"split": split} for split in splits}


_TRAIN: Splits = {"train": {"train": True}, "test": {"train": False}}

#: The first split is the one opened unless another is asked for.
SETS = {
    "cifar10": _Set("CIFAR10", "data", "targets", _TRAIN),
    "cifar100": _Set("CIFAR100", "data", "targets", _TRAIN),
    "dtd": _Set("DTD", "_image_files", "_labels", _named("train", "val", "test")),
    "eurosat": _Set("EuroSAT", "samples", None, {"all": {}}),
    "fashionmnist": _Set("FashionMNIST", "data", "targets", _TRAIN),
    "fgvcaircraft": _Set("FGVCAircraft", "_image_files", "_labels", _named("train", "val", "test")),
    "flowers102": _Set("Flowers102", "_image_files", "_labels", _named("train", "val", "test")),
    "food101": _Set("Food101", "_image_files", "_labels", _named("train", "test")),
    "gtsrb": _Set("GTSRB", "_samples", None, _named("train", "test")),
    "kmnist": _Set("KMNIST", "data", "targets", _TRAIN),
    "mnist": _Set("MNIST", "data", "targets", _TRAIN),
    "oxfordiiitpet": _Set(
        "OxfordIIITPet", "_images", "_labels", {"train": {"split": "trainval"}, "test": {"split": "test"}}
    ),
    "places365": _Set("Places365", "imgs", None, {"val": {"split": "val", "small": True}}),
    "stl10": _Set("STL10", "data", "labels", _named("train", "test", "unlabeled")),
    "svhn": _Set("SVHN", "data", "labels", _named("train", "test", "extra")),
    "usps": _Set("USPS", "data", "targets", _TRAIN),
}


def torchvision_set(name: str, split: str | None = None) -> ImageSet:
    """One of torchvision's sets, from the `data_folder`, where ``NAME-SPLIT.parquet`` may stand for its own files.

    Arguments:
        name: A key of `SETS`.
        split: A key of its splits; the first unless given.
    """
    from torchvision import datasets

    entry = SETS[name]
    split = split or next(iter(entry.splits))
    if split not in entry.splits:
        raise unknown("split", split, entry.splits, f"of {name}")
    root = data_folder()
    if (kept := root / f"{name}-{split}.parquet").is_file():
        return parquet(kept)
    try:
        root.mkdir(parents=True, exist_ok=True)
        dataset = getattr(datasets, entry.name)(root, download=True, **entry.splits[split])
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise OutskirtsError(
            f"The image set '{name}' could not be downloaded ({reason}); put the files that torchvision's "
            f"{entry.name} expects into {root} by hand, or name another folder in OUTSKIRTS_DATA."
        ) from error
    stored = getattr(dataset, entry.images)
    if entry.labels is None:
        stored, values = zip(*stored)
    else:
        values = getattr(dataset, entry.labels)
    items: Any = (
        checked_pixels(stored, name) if not isinstance(stored, (list, tuple)) else [Path(path) for path in stored]
    )
    labels = class_indices(values, len(items), f"The labels of {name}")
    return ImageSet(items, labels, getattr(dataset, "classes", ()), name)


for _name in SETS:
    SOURCES[_name] = partial(torchvision_set, _name)
