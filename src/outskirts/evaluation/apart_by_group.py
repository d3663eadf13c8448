"""Which of the sets of an evaluation have images of one group, such as one patient."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..data.imageset import ImageSet
from ..data.leakage import require_no_shared_groups, shared_groups
from ..texts import counted, listed, verb
from .results import ID

__all__ = ["shared_groups_of"]


def shared_groups_of(sets: Mapping[str, ImageSet], train: ImageSet, val: ImageSet) -> Iterator[str]:
    """Sentences on groups that sets share, and on sets whose groups are not known.

    Arguments:
        sets: ID test images and OOD sets, by name.
        train: Training images.
        val: Validation images.

    Raises:
        OutskirtsError: If training images and validation or ID test images are of one group.
    """
    require_no_shared_groups(val, "validation", train, "training")
    require_no_shared_groups(sets[ID], "ID test", train, "training")
    for name, images in sets.items():
        for other, against in (("ID test", sets[ID]), ("validation", val), ("training", train)):
            if images is not against and (found := shared_groups(images, against)):
                yield (
                    f"{counted(len(found), 'group')} of {name} ({listed(found, 3)}) {verb(len(found), 'have')} images "
                    f"among the {other} images, too."
                )
    if train.group is not None:
        for called, images in (("ID test", sets[ID]), ("validation", val)):
            if images.group is None:
                yield (
                    f"The training images have groups ({train.group.name}), and the {called} images have none. "
                    "Whether they share any is not known; name them with ?group=."
                )
