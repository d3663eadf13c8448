"""What a reader should know of images that sets share though their files differ: equal pixels, and lookalikes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from ..data.imageset import ImageSet
from ..data.likeness import Likeness, load_likenesses
from ..texts import verb
from .lookalikes import lookalikes
from .results import ID
from .separation import require_few
from .set_groups import is_ood
from .task import Task

__all__ = ["copies_in_other_files"]


def copies_in_other_files(task: Task) -> Iterator[str]:
    """Sentences on the images of sets that have gone through the network; sets of which nothing is known are left out.

    Raises:
        OutskirtsError: If more images of a set than real sets have copies are among the ID test or training images.
    """
    kept = load_likenesses(task.run.likeness)
    sets = {name: _Known.of(images) for name, images in task.sets.items()}
    train, val = _Known.of(task.train, kept.get("training")), _Known.of(task.val, kept.get("validation"))
    for name, known in sets.items():
        if known is None:
            continue
        yield from _within(name, known)
        for other, against in {"ID test": sets[ID], "training": train, "validation": val}.items():
            # Shifted images and controls are often those of the test, changed.
            changed = other == "ID test" and name != ID and not is_ood(task.groups[name])
            if against is None or against is known or changed:
                continue
            pair = _compared(known, against)
            if other != "validation":
                require_few(pair.shared + pair.equal, name, known.images, other, against.images)
            yield from pair.sentences(f"images of {name}", f"{'an' if other == 'ID test' else 'a'} {other} image")
    if train is not None and val is not None:
        yield from _compared(val, train).sentences("validation images", "a training image")


@dataclass(frozen=True)
class _Known:
    """Images, and what they look like."""

    images: ImageSet
    likeness: Likeness

    @classmethod
    def of(cls, images: ImageSet, kept: Likeness | None = None) -> _Known | None:
        """What is known of a set from its pass, or else from what its run has kept."""
        likeness = kept if images.likeness is None else images.likeness
        return cls(images, likeness) if likeness is not None and len(likeness) == len(images) else None


@dataclass(frozen=True)
class _Pair:
    """How many images of one set another has in other files.

    Arguments:
        images: Images of the one set.
        shared: Different images of equal bytes, those left out that cannot be decoded.
        equal: Different images of equal pixels, without those of equal bytes.
        alike: Images that look almost the same as one of the other set, without those of equal pixels.
        example: One of these and what it looks like, by their names, if there is any.
    """

    images: int
    shared: int
    equal: int
    alike: int
    example: tuple[str, str] | None

    def sentences(self, which: str, other: str) -> Iterator[str]:
        """What is said of them: which images of the one set, and what one of the other is called."""
        if self.equal:
            yield (
                f"{self.equal:,} of the {self.images:,} {which} {verb(self.equal, 'have')} the same pixels as "
                f"{other} in another file."
            )
        if self.example:
            one, another = self.example
            yield (
                f"{self.alike:,} of the {self.images:,} {which} {verb(self.alike, 'look')} almost the same as "
                f"{other}, such as {one} and {another}."
            )


def _compared(known: _Known, against: _Known) -> _Pair:
    """Compare two sets."""
    keys, pixels, others = known.images.keys, known.likeness.keys(), set(against.likeness.keys())
    decoded = [i for i, key in enumerate(pixels) if key]
    shared = {keys[i] for i in decoded} & against.images.distinct
    new = [i for i in decoded if keys[i] not in shared]
    equal = {pixels[i] for i in new if pixels[i] in others}
    rest = torch.tensor([i for i in new if pixels[i] not in equal], dtype=torch.long)
    found = lookalikes(known.likeness.thumbnails[rest], against.likeness.thumbnails)
    return _Pair(len(pixels), len(shared), len(equal), *_alike(found, known.images, rest, against.images))


def _alike(
    found: torch.Tensor, images: ImageSet, rows: torch.Tensor, others: ImageSet
) -> tuple[int, tuple[str, str] | None]:
    """The number of images that look like others, and the names of the first such pair.

    Arguments:
        found: What `lookalikes` says of some images, numbers of images of the others.
        images: The set with these images.
        rows: Which of its images they are.
        others: The other set.
    """
    places = (found >= 0).nonzero().flatten().tolist()
    if not places:
        return 0, None
    return len(places), (images.name(int(rows[places[0]])), others.name(int(found[places[0]])))


def _within(name: str, known: _Known) -> Iterator[str]:
    """What is said of copies within one set; those of equal bytes do not count."""
    pixels = known.likeness.keys()
    first_of_bytes = {key: i for i, key in reversed(list(enumerate(known.images.keys))) if pixels[i]}
    first_of_pixels = {pixels[i]: i for i in sorted(first_of_bytes.values(), reverse=True)}
    equal = len(first_of_bytes) - len(first_of_pixels)
    if equal:
        yield (
            f"Of the {len(pixels):,} images of {name}, {equal:,} {verb(equal, 'have')} the same pixels as another in "
            "another file. Intervals take images for independent, so they are too narrow."
        )
    rows = torch.tensor(sorted(first_of_pixels.values()), dtype=torch.long)
    found = lookalikes(known.likeness.thumbnails[rows])
    alike, example = _alike(torch.where(found >= 0, rows[found], -1), known.images, rows, known.images)
    if example:
        yield (
            f"Of the {len(pixels):,} images of {name}, {alike:,} {verb(alike, 'look')} almost the same as another, "
            f"such as {example[0]} and {example[1]}."
        )
