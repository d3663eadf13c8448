"""Pools: synthetic images of known classes on disk, with a record of what made them and from what.

======================  ==================================================================================
``images.npy``          uint8 [M, H, W] or [M, H, W, 3], mapped into memory rather than read
``labels.npy``          int64 [M], positions in the manifest's list of classes
``keys.npy``            the images that the generator has seen, as `KeySet.save` writes them
``manifest.json``       generator, seed, classes, counts, filters, quality, and the SHA-256 of the arrays
======================  ==================================================================================

The manifest is written last: without it a pool is not finished, and opens as no image set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch import Tensor

from ...__about__ import __version__
from ...errors import OutskirtsError
from ...files import (
    LOCK_FILES,
    atomic,
    file_digest,
    is_file,
    load_json,
    require_alike,
    require_empty,
    reserve,
    save_json,
)
from ...texts import counted
from ..imageset import ImageSet
from ..keyset import KeySet
from ..npy import mapped, reading_arrays
from ..pixel_array import checked_pixels
from .labels import class_indices
from .spec import source

__all__ = ["OUTLIERS", "SAMPLES", "PoolWriter", "open_pool", "verify_pool"]

#: The format that is written. In 1, which is read as well, ``keys.npy`` has the keys of version 0.1.
FORMAT = 2


#: What a manifest says it holds, if not images of the classes.
OUTLIERS = "outliers"

#: A contact sheet of the images, if there is one.
SAMPLES = "samples.png"

_ARRAYS = ("images.npy", "labels.npy", "keys.npy")
_ANEW = "remove {}, and give the command again."
#: Images that no generator has drawn.
_MOST_DRAWN = 2**48

#: What every manifest says.
_MANIFEST = {
    "count": int,
    "classes": [str],
    "generator": {"name": str},
    "counts": {str: int},
    "sha256": {str: str},
}


@source("pool")
def open_pool(where: Path) -> ImageSet:
    """A finished pool; its arrays are mapped, and only their shapes checked."""
    about = manifest(where)
    stored = checked_pixels(mapped(where / "images.npy"), str(where / "images.npy"))
    labels = mapped(where / "labels.npy")
    if stored.dtype != np.uint8:
        raise OutskirtsError(f"{where / 'images.npy'} is not uint8, as the images of a pool are; make the pool again.")
    classes: list[str] = about["classes"]
    if len(stored) != about["count"]:
        raise OutskirtsError(
            f"{where / 'images.npy'} holds {counted(len(stored), 'image')}, but the manifest says {about['count']}; "
            "make "
            "the pool again."
        )
    indices = class_indices(labels, len(stored), f"The labels of {where}")
    if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < len(classes):
        raise OutskirtsError(
            f"The labels of {where} go from {int(indices.min())} to {int(indices.max())}, but it has "
            f"{len(classes)} classes, which count from 0; make the pool again."
        )
    return ImageSet(stored, indices, classes, spec=f"pool:{where}", note=f"made by {about['generator']['name']}")


def verify_pool(folder: Path) -> dict[str, Any]:
    """The manifest, after every byte of the pool was compared with it.

    Raises:
        OutskirtsError: If a file is missing or other than when it was written, or anything contradicts the manifest.
    """
    about, images = manifest(folder), open_pool(folder)
    for name in _ARRAYS:
        if (digest := file_digest(folder / name)) != about["sha256"].get(name):
            raise OutskirtsError(
                f"{folder / name} is not the file that the manifest describes: its SHA-256 begins with "
                f"{digest[:12]}, not with {str(about['sha256'].get(name))[:12]}; make the pool again, or copy "
                "it again."
            )
    counts = torch.bincount(images.labels, minlength=len(images.classes)).tolist()
    if dict(zip(images.classes, counts)) != about["counts"]:
        raise OutskirtsError(
            f"The images of each class in {folder} are not as many as its manifest says; make the pool again."
        )
    return about


class PoolWriter:
    """A pool being made, whole batches at a time; one that was begun alike goes on where it was.

    Arguments:
        folder: New, empty, or begun with the same arguments.
        count: M.
        shape: Shape of an image, [1 or 3, H, W].
        classes: Names of the classes.
        keys: Keys of the images that the generator has seen.
        about: What else defines the pool: whatever it was begun with must be the same to go on.
    """

    def __init__(
        self,
        folder: Path,
        count: int,
        shape: Sequence[int],
        classes: Sequence[str],
        keys: Sequence[str],
        about: Mapping[str, Any],
    ) -> None:
        channels, height, width = shape
        self.folder, self.classes = folder, list(classes)
        size = (count, height, width) if channels == 1 else (count, height, width, channels)
        begun = {"format": FORMAT, "count": count, "shape": list(size), "classes": self.classes, **about}
        if (folder / "manifest.json").is_file():
            raise OutskirtsError(f"{folder} holds a finished pool; choose another folder.")
        self._new = not self._state.is_file()
        if self._new:
            require_empty(folder)
            save_json(self._state, {"begun": begun, "done": 0, "drawn": [0] * len(classes)})
        self.state: dict[str, Any] = load_json(self._state, {"begun": dict, "done": int, "drawn": [int]})
        require_alike(str(folder), self.state["begun"], begun)
        KeySet.of(keys).save(folder / "keys.npy")
        self.images = _writable(folder / "images.npy", size, np.uint8)
        self.labels = _writable(folder / "labels.npy", (count,), np.int64)
        self._require_whole()

    def _require_whole(self) -> None:
        done, drawn = self.state["done"], self.state["drawn"]
        counted_well = len(drawn) == len(self.classes) and all(0 <= number < _MOST_DRAWN for number in drawn)
        if not (counted_well and 0 <= done <= min(len(self.labels), sum(drawn))):
            raise OutskirtsError(
                f"{self._state} is damaged: its counts of images cannot be; {_ANEW.format(self.folder)}"
            )
        if done and not 0 <= int(self.written.min()) <= int(self.written.max()) < len(self.classes):
            name = self.folder / "labels.npy"
            raise OutskirtsError(f"{name} is damaged: it has labels of no class; {_ANEW.format(self.folder)}")

    @contextmanager
    def beginning(self) -> Iterator[None]:
        """A block before the first image. An error in it leaves nothing of a pool that was not there before."""
        try:
            yield
        except OutskirtsError:
            own = {*_ARRAYS, self._state.name}
            if self._new and not self.done and {path.name for path in self.folder.iterdir()} <= {*own, *LOCK_FILES}:
                for name in own:
                    (self.folder / name).unlink(missing_ok=True)
            raise

    @property
    def _state(self) -> Path:
        return self.folder / "state.json"

    @property
    def done(self) -> int:
        """Images written."""
        return int(self.state["done"])

    @property
    def drawn(self) -> Tensor:
        """Images made of each class, those that were not kept as well, [C]."""
        return torch.tensor(self.state["drawn"])

    @property
    def written(self) -> Tensor:
        """Labels of the images written, [done]."""
        return torch.from_numpy(np.array(self.labels[: self.done]))

    def add(self, images: Tensor, labels: Tensor, drawn: Tensor) -> None:
        """Append images, uint8 [n, C, H, W], with labels [n], the ones kept of those with the labels `drawn`."""
        place = slice(self.done, self.done + len(images))
        pictures = images.movedim(1, 3).numpy()
        self.images[place] = pictures[..., 0] if self.images.ndim == 3 else pictures
        self.labels[place] = labels.numpy()
        self.images.flush()
        self.labels.flush()
        made = self.drawn + torch.bincount(drawn, minlength=len(self.classes))
        # Written last: what it does not count will be written again.
        self.state |= {"done": self.done + len(images), "drawn": made.tolist()}
        save_json(self._state, self.state)

    def finish(self, **more: Any) -> None:
        """Write the manifest, with whatever else belongs in it."""
        counts = torch.bincount(self.written, minlength=len(self.classes)).tolist()
        save_json(
            self.folder / "manifest.json",
            {
                **self.state["begun"],
                "counts": dict(zip(self.classes, counts)),
                "drawn": dict(zip(self.classes, self.state["drawn"])),
                "outskirts": __version__,
                "sha256": {name: file_digest(self.folder / name) for name in _ARRAYS},
                **more,
            },
        )
        self._state.unlink()


def manifest(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise OutskirtsError(f"There is no folder {folder}.")
    if is_file(folder / "state.json"):
        raise OutskirtsError(f"The pool {folder} is not finished. To continue, give the command that began it again.")
    if not is_file(folder / "manifest.json"):
        raise OutskirtsError(f"{folder} is not a pool: it has no manifest.json.")
    about = load_json(folder / "manifest.json", dict)
    if about.get("format") not in (1, FORMAT):
        raise OutskirtsError(
            f"{folder} was written in format {about.get('format')} of pools; this version of outskirts reads 1 and "
            f"{FORMAT}."
        )
    return load_json(folder / "manifest.json", _MANIFEST)


def _writable(path: Path, shape: tuple[int, ...], dtype: type[Any]) -> Any:
    """An array on disk, with space for all of it; made unless it is there."""
    if not path.is_file():
        with atomic(path) as temporary:
            array = open_memmap(temporary, "w+", dtype, shape)
            array.flush()
            with temporary.open("r+b") as file:
                reserve(file, array.offset, array.offset + array.nbytes)
    with reading_arrays(path):
        array = open_memmap(path, "r+")
    if array.shape != shape or array.dtype != dtype:
        raise OutskirtsError(
            f"{path} is damaged: it is of shape {array.shape}, {array.dtype}, not {shape}, {np.dtype(dtype)}; "
            f"{_ANEW.format(path.parent)}"
        )
    return array
