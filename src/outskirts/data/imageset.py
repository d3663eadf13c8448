"""Labelled images, wherever they are stored."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property, partial
from os import PathLike
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.utils.data import Dataset

from .. import notebook
from ..arguments import check_arguments
from ..errors import OutskirtsError
from ..files import digest
from ..texts import counted, listed, verb
from .attribute import Attribute
from .cache import ImageCache, current_cache
from .decode import Items, image_of, stored_pixels
from .identity import item_keys
from .labelling import class_names, class_numbers
from .likeness import KEY, Likeness, pixel_key
from .losses import Losses, loss_of
from .packed import Packed
from .pixel_array import checked_pixels
from .reading import SHOWN, Reading
from .selection import (
    class_positions,
    correlated,
    evenly_spaced,
    joined,
    part_bounds,
    position_bounds,
    quantiles,
    renumbered,
)
from .threads import Done, attempt_all
from .thumbnails import sheet
from .transform import Transform

__all__ = ["SUBSET", "ImageSet"]

#: Ends the spec of a set that was cut in Python, which no spec can reopen.
SUBSET = " [subset]"

#: Classes that a line names, and images that a notebook shows.
_NAMED, _SHOWN = 3, 12


@check_arguments
class ImageSet(Dataset[tuple[Tensor, int]]):
    """A map-style dataset of ``(image uint8 [C, h, w], label)``, images at their own sizes.

    Arguments:
        items: The stored images: encoded bytes, paths, PIL images, or arrays [H, W] or [H, W, C] of integers or floats;
            or all of them as one array, whose channels may come before or after the rows.
        labels: Class of each image, whole numbers [N]; -1 where it has none. None: no image has one.
        classes: Names of the classes; their numbers unless given.
        spec: The text that `outskirts.open` reopens the set from.
        note: What a reader of results should know about the set.
        index: Which items, in order, [N]; all unless given.
        attribute: What else is known of each image.
        group: What each image is of, such as a patient; `part` never parts the images of one.

    >>> import numpy as np
    >>> images = ImageSet(np.zeros((4, 8, 8), np.uint8), torch.tensor([0, 0, 1, 1]), ["cat", "dog"])
    >>> images.select_classes(["dog"])
    ImageSet('', 2 images, 1 class: dog)
    """

    #: Whether the images can be looked at.
    pictures: ClassVar[bool] = True

    def __init__(
        self,
        items: Items,
        labels: ArrayLike | Tensor | None = None,
        classes: Sequence[str] = (),
        spec: str = "",
        note: str = "",
        index: Tensor | None = None,
        attribute: Attribute | None = None,
        group: Attribute | None = None,
    ) -> None:
        self.items = checked_pixels(items, spec or "The array of images") if hasattr(items, "ndim") else items
        self.index = torch.arange(len(items)) if index is None else index
        self.spec = spec
        self.labels = torch.full_like(self.index, -1) if labels is None else class_numbers(labels, self._origin)
        self.classes = class_names(classes, self.labels, self._origin)
        self.note = note
        self.attribute, self.group = attribute, group
        #: Names of the corrupt images that `resident` or `decodable` left out last.
        self.skipped: list[str] = []
        #: What each image looks like, once all have been decoded for a network.
        self.likeness: Likeness | None = None
        #: Keys of the pixels of the images that this process has decoded, [N]; zeros for others.
        self.pixel_keys = np.zeros(len(self.index), f"V{KEY}")
        #: What each of them loses on its way to a network, uint8 [N]; see `outskirts.data.losses`.
        self.lost = np.zeros(len(self.index), np.uint8)
        #: How many lose much, once all have been decoded for a network.
        self.losses: Losses | None = None
        if self.labels.shape != self.index.shape:
            raise OutskirtsError(
                f"{self._origin} has {counted(len(self.index), 'image')} but {counted(len(self.labels), 'label')}."
            )
        for known in (attribute, group):
            if known is not None and len(known.index) != len(self.index):
                raise OutskirtsError(
                    f"{self._origin} has {len(self.index)} images but {len(known.index)} values of '{known.name}'."
                )

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return self.image(i), int(self.labels[i])

    def __repr__(self) -> str:
        count = len(self.classes)
        names = f": {listed(self.classes, _NAMED)}" if count else ""
        classes = f"{counted(count, 'class')}{names}"
        return f"{type(self).__name__}({self.spec!r}, {counted(len(self), 'image')}, {classes})"

    def _repr_html_(self) -> str:
        known = [("spec", self.spec), ("images", f"{len(self):,}")]
        known += [("classes", f"{len(self.classes)}: {listed(self.classes)}")] if self.classes else []
        if unlabeled := int((self.labels < 0).sum()):
            known.append(("without a label", f"{unlabeled:,}"))
        if self.attribute is not None:
            known.append(("attribute", f"{self.attribute.name}: {listed(self.attribute.values)}"))
        known += [("note", self.note)] if self.note else []
        return notebook.table(type(self).__name__, known, picture=sheet(self._samples()) if self.pictures else None)

    def _samples(self) -> Iterator[Tensor]:
        """The pixels of a few images, spread over the set; those that cannot be read are left out."""
        for i in evenly_spaced(len(self), _SHOWN).tolist():
            # A notebook shows an object whatever is wrong with its files; who reads an image gets the error.
            with suppress(Exception):
                yield self.image(i)

    def image(self, i: int, reading: Reading = SHOWN) -> Tensor:
        """The pixels of image `i`, uint8 [1 or 3, h, w]; a `CorruptImage` error names one that has none.

        Arguments:
            i: Position of the image.
            reading: How stored pixels become bytes; as the image is looked at unless given.
        """
        name = self.name(i)
        item = self.items[int(self.index[i])]
        pixels = stored_pixels(item, name, reading)
        image = image_of(pixels, name, reading)
        self.pixel_keys[i], self.lost[i] = pixel_key(image), loss_of(item, pixels, reading)
        return image

    def name(self, i: int) -> str:
        """What image `i` is called: its path, on disk or in an archive, or its row (from 0) in the set's file."""
        row = int(self.index[i])
        if isinstance(self.items, Packed):
            return self.items.name(row)
        item = self.items[row]
        return str(item) if isinstance(item, PathLike) else f"row {row} of {self._origin}"

    def kept_names(self) -> list[str]:
        """The names of the images that are not in `skipped`, in order."""
        skipped = set(self.skipped)
        return [name for name in map(self.name, range(len(self))) if name not in skipped]

    # In memory

    def nbytes(self, transform: Transform, room: bool = False) -> int:
        """The bytes that `resident` would take."""
        return len(self) * transform.channels * transform.side(room) ** 2

    def resident(
        self,
        transform: Transform,
        room: bool = False,
        skip_corrupt: bool = False,
        threads: int | None = None,
        progress: Done | None = None,
    ) -> tuple[Tensor, Tensor]:
        """All images, decoded once and brought to one size, in order; not to be changed, as others may be given them.

        Arguments:
            transform: Brings each image to one size, by its method `host`.
            room: Whether to leave room for random crops, which makes the images larger than the network's input.
            skip_corrupt: Leave corrupt images out and list their names in `skipped`, rather than stop.
            threads: Number of threads that decode at once; the number of processors, at most 8, unless given.
            progress: Called now and then with the number of images done.

        Returns:
            Images, uint8 [N, C, S, S], and labels, int64 [N].
        """
        read = partial(self._read, transform, room, skip_corrupt, threads=threads, progress=progress)
        place = self.place(transform, room, skip_corrupt)
        if place is None:
            return read()
        store, key = place
        images, labels, self.pixel_keys, self.lost = store.cached(key, lambda: (*read(), self.pixel_keys, self.lost))
        return images, labels

    def place(
        self, transform: Transform, room: bool = False, skip_corrupt: bool = False
    ) -> tuple[ImageCache, Hashable] | None:
        """Where this process keeps the decoded images, and under which key; None if it does not. Arguments as for
        `resident`.
        """
        store = current_cache()
        # Which ones were left out is only known to who left them out.
        if store is None or skip_corrupt or not self.pictures or self.nbytes(transform, room) > store.budget:
            return None
        return store, (self.fingerprint, transform.host_key(room))

    def _read(self, transform: Transform, room: bool, skip_corrupt: bool, **options: Any) -> tuple[Tensor, Tensor]:
        """What `resident` returns, of those that nobody keeps."""
        side = transform.side(room)
        images = torch.empty(len(self), transform.channels, side, side, dtype=torch.uint8)
        # By NumPy, as torch would begin threads of its own for each of those that decode.
        pixels = images.numpy()

        def store(i: int) -> None:
            pixels[i] = transform.host(self.image(i, transform.reading), room).numpy()

        sound = self._sound(store, skip_corrupt, **options)
        return (images[sound], self.labels[sound]) if self.skipped else (images, self.labels)

    def decodable(self, reading: Reading = SHOWN, threads: int | None = None, progress: Done | None = None) -> ImageSet:
        """The images that are not corrupt; the others are listed in `skipped`.

        Decodes all and keeps nothing, for sets that are too large to be resident.

        Arguments:
            reading: How stored pixels become bytes.
            threads: Number of threads that decode at once; the number of processors, at most 8, unless given.
            progress: Called now and then with the number of images done.
        """
        sound = self._sound(partial(self.image, reading=reading), True, threads=threads, progress=progress)
        rest = self.subset(sound) if self.skipped else self
        rest.skipped = self.skipped
        return rest

    def _sound(self, work: Callable[[int], object], skip_corrupt: bool, **options: Any) -> Tensor:
        sound = attempt_all(work, len(self), skip_corrupt, **options)
        self.skipped = [self.name(i) for i in (~sound).nonzero().flatten().tolist()]
        return sound

    # Identity

    @cached_property
    def keys(self) -> list[str]:
        """A hash per image, equal for copies; see `outskirts.data.identity`. Empty where there is none to read."""
        return item_keys(self.items, self.index.tolist())

    @cached_property
    def distinct(self) -> frozenset[str]:
        """The keys of the images that can be read, each once."""
        return frozenset(self.keys) - {""}

    @cached_property
    def first_keys(self) -> list[str]:
        """The keys that version 0.1 gave the images, to compare them with what it has written."""
        return item_keys(self.items, self.index.tolist(), first=True)

    @cached_property
    def fingerprint(self) -> str:
        """A hash over the images and labels, in order, the same wherever the files lie."""
        return f"2:{self._fingerprint(self.keys)}"

    def fingerprint_as(self, written: str | None) -> str:
        """The fingerprint in the form of one that was written before, by this version or by 0.1."""
        return self.fingerprint if written is None or ":" in written else self._fingerprint(self.first_keys)

    def _fingerprint(self, keys: Sequence[str]) -> str:
        return digest("".join(keys), self.labels)

    # Views

    def subset(self, index: Tensor | Sequence[int]) -> ImageSet:
        """The images at these positions (or where a mask is true), in this order."""
        chosen = torch.as_tensor(index)
        chosen = chosen if chosen.dtype == torch.bool else chosen.long()
        known = {name: one and one.of(chosen) for name, one in (("attribute", self.attribute), ("group", self.group))}
        return self._like(labels=self.labels[chosen], index=self.index[chosen], **known)

    def select_classes(self, chosen: str | Sequence[str]) -> ImageSet:
        """Some classes, relabelled 0, 1, … in the order given.

        Arguments:
            chosen: Names, or a text of names and positions such as ``"0-5,8"``.
        """
        positions = class_positions(chosen, self.classes, self._origin)
        numbers = {position: number for number, position in enumerate(positions)}
        labels = renumbered(self.labels, [numbers.get(position, -1) for position in range(len(self.classes))])
        return self._like(labels=labels, classes=[self.classes[i] for i in positions]).subset(labels >= 0)

    def correlated(self, percent: int, seed: int = 0) -> ImageSet:
        """All images in which class and attribute differ in number, and some at random of those in which they agree.

        Of each class there are as many of the latter as make up a share beside the smallest group of the former.

        Arguments:
            percent: The share, from 50 to 99.
            seed: Equal seeds choose the same.

        References:
            | On the Impact of Spurious Correlation for Out-of-Distribution Detection (Ming et al., 2022)
            | https://arxiv.org/abs/2109.05642
        """
        if self.attribute is None:
            raise OutskirtsError(
                f"{self._origin} has no attribute to correlate its classes with; choose one with ?attribute=."
            )
        return self.subset(correlated(self.labels, self.attribute.index, len(self.classes), percent, seed))

    def between(self, positions: str) -> ImageSet:
        """Consecutive images: ``"500-999"`` are those from position 500 to 999, counted from 0, or to the last."""
        first, last = position_bounds(positions)
        return self.subset(torch.arange(min(first, len(self)), min(last + 1, len(self))))

    def part(self, bounds: str, seed: int = 0, whole_copies: bool = False) -> ImageSet:
        """A random share of every class: ``"0-60%"`` and ``"60-100%"`` are disjoint and together all.

        Where the images are of groups, so are the parts; see `outskirts.data.selection.quantiles`.

        Arguments:
            bounds: From where to where, in per cent.
            seed: Equal seeds choose the same.
            whole_copies: Whether copies of an image, those of equal `keys`, are all in one part.
        """
        low, high = part_bounds(bounds)
        group = None if self.group is None else self.group.index
        position = quantiles(self.labels, seed, joined(self.keys, group) if whole_copies else group)
        return self.subset((position >= low) & (position < high))

    def limit(self, n: int, seed: int = 0) -> ImageSet:
        """At most `n` random images, in the proportions of the classes and their first order."""
        if n < 1:
            raise OutskirtsError(f"A limit of {n} leaves no image; choose at least 1.")
        return self.subset(quantiles(self.labels, seed).argsort()[:n].sort().values)

    def changed(self, items: Items) -> ImageSet:
        """The same set with other images in the place of the stored ones."""
        if not self.pictures:
            raise OutskirtsError(f"{self._origin} holds no pictures, so they cannot be changed; use a set of images.")
        return self._like(items=items)

    def align(self, classes: Sequence[str]) -> ImageSet:
        """The same images, labelled by the positions of their classes in another set's `classes`."""
        strangers = [name for name in self.classes if name not in classes]
        if strangers:
            raise OutskirtsError(
                f"{self._origin} has classes that the training set lacks: {listed(strangers)}; "
                f"the training set has {listed(classes)}."
            )
        labels = renumbered(self.labels, [list(classes).index(name) for name in self.classes])
        return self._like(labels=labels, classes=classes, spec=self.spec)

    def require_trainable(self) -> None:
        """Raise unless there are images of two or more classes, and of every class."""
        if not len(self):
            raise OutskirtsError(f"{self._origin} holds no images.")
        unlabeled = int((self.labels < 0).sum())
        if unlabeled:
            raise OutskirtsError(
                f"{unlabeled} of the {len(self)} images of {self._origin} {verb(unlabeled, 'have')} no label; "
                "training needs all."
            )
        if len(self.classes) < 2:
            raise OutskirtsError(f"{self._origin} has one class; a classifier needs at least two.")
        counts = torch.bincount(self.labels, minlength=len(self.classes))
        empty = [f"{i} ({self.classes[i]})" for i in (counts == 0).nonzero().flatten().tolist()]
        if empty:
            raise OutskirtsError(
                f"{self._origin} has no images of these classes: {listed(empty)}. Remove them, such as their empty "
                "folders, or choose the others with ?classes=."
            )

    def _like(self, **changes: Any) -> Self:
        """The same set but for what is named, which no spec reopens."""
        names = ("items", "labels", "classes", "note", "index", "attribute", "group")
        spec = self.spec.removesuffix(SUBSET) + SUBSET if self.spec else ""
        return type(self)(**{"spec": spec, **{name: getattr(self, name) for name in names}, **changes})

    @property
    def _origin(self) -> str:
        return self.spec.removesuffix(SUBSET).partition("?")[0] or "The image set"
