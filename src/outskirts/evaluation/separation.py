"""Which of the sets of an evaluation share images: what must be apart, and what a reader should know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from itertools import combinations
from pathlib import Path

from ..data.imageset import ImageSet
from ..data.keyset import KeySet
from ..data.leakage import TOLERATED, SeenAs, overlap, require_unseen
from ..errors import OutskirtsError
from ..texts import verb
from ..training.run import Run
from .apart_by_group import shared_groups_of
from .results import ID

__all__ = [
    "require_apart",
    "require_apart_from_validation",
    "require_few",
    "seen_in_training",
    "shared_images",
    "shared_with_test",
]

#: How a network has learnt from images that are not its training images.
_LEARNT = "learnt as synthetic images, or in the run that the network began from"


def shared_images(
    sets: Mapping[str, ImageSet], train: ImageSet, val: ImageSet, skip_corrupt: bool = False
) -> list[str]:
    """Refuse sets that cannot be measured beside each other.

    Arguments:
        sets: ID test images and OOD sets, by name.
        train: Training images of the run.
        val: Validation images of the run.
        skip_corrupt: Whether images that cannot be decoded are left out; such files are often all alike.

    Returns:
        What a reader of the results should know of the images that they share, in sentences.

    Raises:
        OutskirtsError: If a set is empty, or if more of its images than real sets have copies are among the ID test or
            training images; or if ID images of two sets are of one group.
    """
    _require_images(sets)
    among = _Among(skip_corrupt)
    return [
        *_copies(sets, among),
        *_beside_own(sets, {"ID test": sets[ID], "training": train}, among),
        *_beside_validation(sets, val, among),
        *_beside_training(train, val, among),
        *_beside_each_other({name: images for name, images in sets.items() if name != ID}, among),
        *shared_groups_of(sets, train, val),
    ]


def shared_with_test(sets: Mapping[str, ImageSet], skip_corrupt: bool = False) -> list[str]:
    """What `shared_images` checks of test images and OOD sets alone, where nothing is known of other images.

    Arguments and errors are those of `shared_images`.
    """
    _require_images(sets)
    among = _Among(skip_corrupt)
    others = {name: images for name, images in sets.items() if name != ID}
    return [
        *_copies(sets, among),
        *_beside_own(others, {"ID test": sets[ID]}, among),
        *_beside_each_other(others, among),
    ]


def _require_images(sets: Mapping[str, ImageSet]) -> None:
    for name, images in sets.items():
        if not len(images):
            raise OutskirtsError(f"The set '{name}' ({images.spec}) holds no images.")


def seen_in_training(run: Run, sets: Mapping[str, ImageSet], val: ImageSet) -> Iterator[str]:
    """Sentences on images that were seen in the training besides its own training images.

    Arguments:
        run: The run.
        sets: ID test images and OOD sets, by name.
        val: Validation images of the run.

    Raises:
        OutskirtsError: If more images of a set than real sets have copies were seen.
    """
    known: list[tuple[Path | None, SeenAs, str]] = [
        (run.seen_by_generator, "generator", "shown to the generator of the synthetic images"),
        (run.seen_as_outliers, "outliers", "shown to the network as outliers"),
        (run.seen_before, "learnt", _LEARNT),
    ]
    for name, images in sets.items():
        for file, seen_as, how in known:
            if found := require_unseen(file, images, f"'{name}'", seen_as):
                yield f"{found:,} of the {len(images):,} images of {name} {verb(found, 'were')} {how}."
    if run.seen_before is not None and (found := KeySet.load(run.seen_before).shared(val)):
        yield (
            f"{found:,} of the {len(val):,} validation images {verb(found, 'were')} {_LEARNT}. What is fitted or "
            "chosen on validation images is too sure of itself."
        )


def require_apart(outliers: ImageSet, val: ImageSet, sets: Mapping[str, ImageSet], run: Run | None) -> list[str]:
    """Raise if parameters would be chosen on images that are measured or trained on.

    Arguments:
        outliers: OOD images to choose parameters on.
        val: Validation images to choose them on; they may have a few in common with the sets, as real ones do.
        sets: The others, by name.
        run: The run, if there is one.

    Returns:
        What a reader of the results should know of the choice, in sentences.
    """
    require_apart_from_validation(val, sets)
    for name, images in sets.items():
        if shared := overlap(outliers, images):
            raise OutskirtsError(
                f"{shared:,} of the images to choose parameters on ({outliers.spec}) {verb(shared, 'are')} also in "
                f"the set '{name}'; "
                "choose others, or other parts of it: SPEC?part=0-50%."
            )
    if shared := overlap(outliers, val):
        raise OutskirtsError(
            f"{shared:,} of the images to choose parameters on ({outliers.spec}) {verb(shared, 'are')} also validation "
            "images, from which they must be told; choose others."
        )
    if run is None:
        return []
    if run.seen_before is not None and (shared := KeySet.load(run.seen_before).shared(outliers)):
        raise OutskirtsError(
            f"{shared:,} of the images to choose parameters on ({outliers.spec}) {verb(shared, 'were')} {_LEARNT}; "
            "choose others."
        )
    if run.seen_as_outliers is not None and (shared := KeySet.load(run.seen_as_outliers).shared(outliers)):
        return [
            f"{shared:,} of the {len(outliers):,} images to choose parameters on {verb(shared, 'were')} shown to the "
            "network as outliers, so that it detects them better than others."
        ]
    return []


def require_apart_from_validation(val: ImageSet, sets: Mapping[str, ImageSet]) -> None:
    """Raise if parameters would be chosen on validation images of which sets hold more than real ones have copies.

    Arguments:
        val: Validation images.
        sets: The others, by name.
    """
    for name, images in sets.items():
        if (shared := overlap(val, images)) > TOLERATED * len(images):
            raise OutskirtsError(
                f"{shared:,} of the {len(images):,} images of '{name}' {verb(shared, 'are')} also validation images "
                f"({val.spec}), on "
                "which parameters would be chosen. Evaluate without tuning, or on other images."
            )


def require_few(shared: int, name: str, images: ImageSet, other: str, against: ImageSet) -> None:
    """Raise if a set shares more images with ID images than real sets have copies.

    Arguments:
        shared: Number of different images that it shares.
        name: Name of the set.
        images: Images of the set.
        other: What the ID images are: ``ID test`` or ``training``.
        against: The ID images.
    """
    if shared > TOLERATED * len(images):
        raise OutskirtsError(
            f"{shared:,} of the {len(images):,} images of '{name}' ({images.spec}) {verb(shared, 'are')} also among "
            f"the {other} images ({against.spec}); results would mean nothing. Choose another set."
        )


class _Among:
    """How many images sets have in common.

    Arguments:
        skip_corrupt: Whether to leave out images that cannot be decoded, of sets that have any in common.
    """

    def __init__(self, skip_corrupt: bool) -> None:
        # Every image of a set is decoded for it, so that it is done once.
        self._sound = cache(ImageSet.decodable) if skip_corrupt else lambda images: images

    def shared(self, images: ImageSet, others: ImageSet) -> int:
        """How many different images two sets share."""
        return overlap(images, others) and overlap(self._sound(images), others)

    def copies(self, images: ImageSet) -> int:
        """How many images of a set are copies of others of it."""
        return _repeated(images) and _repeated(self._sound(images))


def _repeated(images: ImageSet) -> int:
    return sum(map(bool, images.keys)) - len(images.distinct)


def _copies(sets: Mapping[str, ImageSet], among: _Among) -> Iterator[str]:
    for name, images in sets.items():
        if copies := among.copies(images):
            those = "1 is a copy" if copies == 1 else f"{copies:,} are copies"
            yield (
                f"Of the {len(images):,} images of {name}, {those} of another. Intervals take images "
                "for independent, so they are too narrow."
            )


def _beside_own(sets: Mapping[str, ImageSet], own: Mapping[str, ImageSet], among: _Among) -> Iterator[str]:
    for name, images in sets.items():
        for other, against in own.items():
            if images is against or not (shared := among.shared(images, against)):
                continue
            require_few(shared, name, images, other, against)
            yield (
                f"{shared:,} of the {len(images):,} images of {name} {verb(shared, 'are')} also among the {other} "
                "images."
            )


def _beside_validation(sets: Mapping[str, ImageSet], val: ImageSet, among: _Among) -> Iterator[str]:
    for name, images in sets.items():
        if shared := among.shared(images, val):
            yield (
                f"{shared:,} of the {len(images):,} images of {name} {verb(shared, 'are')} also among the validation "
                "images, on which "
                "detectors are calibrated."
            )


def _beside_training(train: ImageSet, val: ImageSet, among: _Among) -> Iterator[str]:
    if shared := among.shared(val, train):
        yield (
            f"{shared:,} of the {len(val):,} validation images {verb(shared, 'are')} also training images. What is "
            "fitted or chosen on "
            "validation images is too sure of itself."
        )


def _beside_each_other(sets: Mapping[str, ImageSet], among: _Among) -> Iterator[str]:
    for (name, images), (other, others) in combinations(sets.items(), 2):
        if shared := among.shared(images, others):
            yield f"{shared:,} of the {len(images):,} images of {name} {verb(shared, 'are')} also in {other}."
