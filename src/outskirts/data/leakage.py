"""Which images a run, or a generator, has seen: none of them can be measured any more."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeAlias

from ..errors import OutskirtsError
from ..files import atomic, save_json
from ..texts import counted, listed, verb
from .imageset import ImageSet
from .keyset import KeySet
from .sources.pool import OUTLIERS, SAMPLES, manifest, verify_pool
from .sources.spec import parse_spec

__all__ = [
    "TOLERATED",
    "SeenAs",
    "describe",
    "overlap",
    "require_content",
    "require_no_shared_groups",
    "require_separate",
    "require_unseen",
    "save_seen",
    "seen",
    "shared_groups",
]

#: How images were seen: shown to the generator of synthetic images, shown to the network as outliers, or learnt by the
#: network as images of classes.
SeenAs: TypeAlias = Literal["generator", "outliers", "learnt"]

#: The share of shared images above which two sets are taken to be the same data: real ones have copies.
TOLERATED = 0.01


def seen(spec: str) -> Path | None:
    """The file with the keys of the images that the generator of a pool has seen; None if the spec is of no pool."""
    parsed = parse_spec(spec) if spec else None
    return Path(parsed.arguments["where"]) / "keys.npy" if parsed is not None and parsed.source == "pool" else None


def require_content(spec: str, outliers: bool) -> None:
    """Raise if a spec is of a pool that is not as it was made, or that holds outliers where images of the classes are
    asked for, or the reverse.
    """
    keys = seen(spec)
    if keys is None or (verify_pool(keys.parent).get("content") == OUTLIERS) == outliers:
        return
    if outliers:
        raise OutskirtsError(
            f"{spec} holds images of the training classes, not outliers; pass it as --synthetic {spec}"
        )
    raise OutskirtsError(
        f"{spec} holds outliers, not images of the training classes; pass it as --outlier-images {spec}"
    )


def require_unseen(
    known: Path | None,
    images: ImageSet,
    called: str,
    seen_as: SeenAs = "generator",
) -> int:
    """How many images were seen; an error if they are more than the copies that real sets have.

    Arguments:
        known: File with the keys of the images that were seen (see `seen`); None if there is no such file.
        images: Images that must not be among them.
        called: What they are, for the message.
        seen_as: How they were seen.
    """
    if known is None:
        return 0
    leaked = KeySet.load(known).shared(images)
    if leaked <= TOLERATED * len(images):
        return leaked
    if seen_as == "outliers":
        raise OutskirtsError(
            f"The run was trained with {leaked} of the {len(images)} {called} images as outliers. It detects "
            "them for this reason alone; measure it on other images."
        )
    if seen_as == "learnt":
        raise OutskirtsError(
            f"The network has learnt from {leaked} of the {len(images)} {called} images: they are among its synthetic "
            "images, or among the training images of the run that it began from. Measure it on other images."
        )
    raise OutskirtsError(
        f"The generator of the synthetic images has seen {leaked} of the {len(images)} {called} images. "
        "They would measure what it has memorised. Make the pool from the training part alone, and train "
        "on the same part, such as --data SPEC?part=0-95%. Pass the rest as --val SPEC?part=95-100%."
    )


def describe(spec: str, gallery: Path) -> Path | None:
    """Copy what reports and evaluation need of a pool: ``synthetic.json``, ``.png`` and, returned, ``.npy``, the keys.

    A run keeps them, for the pool may move. Of an image set that is no pool there is nothing.
    """
    keys = seen(spec)
    if keys is None:
        return None
    save_json(gallery / "synthetic.json", {"spec": spec, **manifest(keys.parent)})
    for original, kept in ((keys.parent / SAMPLES, "synthetic.png"), (keys, "synthetic.npy")):
        if original.is_file():
            with atomic(gallery / kept) as temporary:
                shutil.copyfile(original, temporary)
    return gallery / "synthetic.npy"


def save_seen(
    gallery: Path,
    pool: ImageSet | None,
    outliers: ImageSet | None,
    learnt: KeySet,
    as_outliers: KeySet,
) -> None:
    """Keep the keys of what a run is trained with besides its training images; none of it can be measured any more.

    Arguments:
        gallery: Folder of the files: ``learnt.npy`` for images of classes, and ``exposed.npy`` for outliers and for
            what their generator has seen. Neither is written where there are none.
        pool: Synthetic images.
        outliers: Images of outliers.
        learnt: Images of classes that the network had learnt from before.
        as_outliers: Images that it had been shown as outliers before.
    """
    if pool is not None:
        learnt |= KeySet.of(pool.keys)
    if outliers is not None:
        as_outliers |= KeySet.of(outliers.keys)
        if (of_generator := seen(outliers.spec)) is not None:
            as_outliers |= KeySet.load(of_generator)
    for name, keys in (("learnt.npy", learnt), ("exposed.npy", as_outliers)):
        if keys != KeySet():
            keys.save(gallery / name)


def overlap(a: ImageSet, b: ImageSet) -> int:
    """The number of different images that two sets share."""
    return len(a.distinct & b.distinct)


def require_separate(images: ImageSet, called: str, sets: Mapping[str, ImageSet | None]) -> None:
    """Raise if a training would learn from images that it also has another use for, but for the copies of real sets.

    Arguments:
        images: Images to learn from besides the training images.
        called: What they are, for the message.
        sets: The others, by what they are.
    """
    for other, against in sets.items():
        if against is None:
            continue
        shared = overlap(images, against)
        if shared > TOLERATED * min(len(images), len(against)):
            raise OutskirtsError(
                f"{shared:,} of the {len(images):,} {called} images ({images.spec}) {verb(shared, 'are')} also among "
                f"the {other} images ({against.spec}); pass others."
            )


def shared_groups(a: ImageSet, b: ImageSet) -> list[str]:
    """The names of the groups that two sets both have images of, sorted; none where one of them has no groups."""
    return sorted(_groups(a) & _groups(b))


def _groups(images: ImageSet) -> set[str]:
    known = images.group
    return set() if known is None else {known.values[i] for i in known.index.unique().tolist()}


def require_no_shared_groups(images: ImageSet, called: str, others: ImageSet, others_called: str) -> None:
    """Raise if two sets have images of one group, where both have groups.

    Arguments:
        images: The one set.
        called: What its images are, for the message.
        others: The other set.
        others_called: What its images are.
    """
    if found := shared_groups(images, others):
        assert images.group is not None
        raise OutskirtsError(
            f"The {called} images ({images.spec}) and the {others_called} images ({others.spec}) both have images of "
            f"{counted(len(found), 'group')} by {images.group.name}: {listed(found, 3)}. Put all images of a group on "
            "one side."
        )
