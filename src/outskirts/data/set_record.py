"""What is kept of an image set, so that other images under the same spec are told from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from ..errors import OutskirtsError
from ..files import is_file, load_json, save_json
from ..texts import counted
from .imageset import SUBSET, ImageSet

__all__ = ["SetRecord", "load_sets", "require_same_sets", "save_sets"]


@dataclass(frozen=True)
class SetRecord:
    """What is kept of an image set.

    Arguments:
        spec: The spec of the set.
        fingerprint: Hash of the images and labels.
        counts: Number of images of each class, by name; of those without a label as well, under an empty name.
    """

    spec: str
    fingerprint: str
    counts: Mapping[str, int]

    @classmethod
    def of(cls, images: ImageSet) -> SetRecord:
        """The record of a set as it is now."""
        names = ["", *images.classes]
        counts = torch.bincount(images.labels + 1, minlength=len(names)).tolist()
        return cls(images.spec, images.fingerprint, {n: c for n, c in zip(names, counts) if n or c})

    def difference(self, images: ImageSet) -> str:
        """How a set differs from the one that was recorded, as a clause; empty if it does not.

        Arguments:
            images: The set as it is now.
        """
        now = SetRecord.of(images)
        if images.fingerprint_as(self.fingerprint) == self.fingerprint and list(now.counts) == list(self.counts):
            return ""
        if more := [name for name in now.counts if name not in self.counts]:
            return f"the class '{more[0]}' is new"
        if fewer := [name for name in self.counts if name not in now.counts]:
            return f"the class '{fewer[0]}' is gone"
        if list(now.counts) != list(self.counts):
            return "its classes are in another order"
        for name, count in self.counts.items():
            if now.counts[name] != count:
                what = f"of the class '{name}'" if name else "without a label"
                return f"it had {counted(count, 'image')} {what}, and has {now.counts[name]:,}"
        return "it has as many images, but others"


def save_sets(file: Path, sets: Mapping[str, ImageSet]) -> None:
    """Write the records of some sets, by name."""
    save_json(file, {name: asdict(SetRecord.of(images)) for name, images in sets.items()})


def load_sets(file: Path) -> dict[str, SetRecord]:
    """The records in a file; none where there is no file, as in runs of version 0.1."""
    if not is_file(file):
        return {}
    records = load_json(file, {str: {"spec": str, "fingerprint": str, "counts": {str: int}}})
    return {name: SetRecord(one["spec"], one["fingerprint"], one["counts"]) for name, one in records.items()}


def require_same_sets(known: Mapping[str, SetRecord], sets: Mapping[str, ImageSet], whose: str) -> None:
    """Raise if a set is another than the one that was recorded under its name.

    Arguments:
        known: Records, by name; sets without one are not compared.
        sets: Sets as they are now, by name.
        whose: What was done with the recorded sets, for the message: "The run … was trained".

    Raises:
        OutskirtsError: A sentence that says how a set differs.
    """
    for name, images in sets.items():
        if name in known and (clause := known[name].difference(images)):
            spec = images.spec.removesuffix(SUBSET) or "these"
            raise OutskirtsError(
                f"{whose} on other {name} images than {spec} holds now: {clause}. Put back what was there, or begin a "
                "new run."
            )
