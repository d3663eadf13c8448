"""Which images a run, or a generator, has seen: none of them can be measured any more."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..errors import OutskirtsError
from ..files import atomic, save_json
from .imageset import ImageSet
from .keyset import KeySet
from .sources.pool import OUTLIERS, SAMPLES, manifest, verify_pool
from .sources.spec import parse_spec

__all__ = ["TOLERATED", "describe", "overlap", "require_content", "require_unseen", "save_seen_outliers", "seen"]

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


def require_unseen(known: Path | None, images: ImageSet, called: str, as_outliers: bool = False) -> None:
    """Raise if a generator has seen these images, by more than the copies that real sets have.

    Arguments:
        known: File with the keys of the images that the generator has seen (see `seen`); None if there is no such file.
        images: Images that must not be among them.
        called: What they are, for the message.
        as_outliers: Whether they were shown as outliers, rather than to a generator.
    """
    if known is None:
        return
    leaked = KeySet.load(known).shared(images)
    if leaked > TOLERATED * len(images) and as_outliers:
        raise OutskirtsError(
            f"The run was trained with {leaked} of the {len(images)} {called} images as outliers. It detects "
            "them for this reason alone; measure it on other images."
        )
    if leaked > TOLERATED * len(images):
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


def save_seen_outliers(outliers: ImageSet, gallery: Path) -> None:
    """Keep the keys of the images that a run is trained with as outliers, and of what their generator has seen, as
    ``exposed.npy``: neither can be measured any more.
    """
    keys = KeySet.of(outliers.keys)
    if (of_generator := seen(outliers.spec)) is not None:
        keys |= KeySet.load(of_generator)
    keys.save(gallery / "exposed.npy")


def overlap(a: ImageSet, b: ImageSet) -> int:
    """The number of different images that two sets share."""
    return len(a.distinct & b.distinct)
