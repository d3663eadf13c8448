"""The validation and test images that lie beside the training images, in another sub-folder of the same set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..corruptions import CHANGES
from ..imageset import SUBSET, ImageSet
from ..option_text import encoded_item
from ..selection import class_positions
from .folder import class_names
from .spec import Spec, parse_spec, reopen
from .splits import find_splits, split_folders

__all__ = ["beside", "lies_beside"]


def beside(spec: str | None, split: str) -> ImageSet | None:
    """Another split of the folder that training images are of; None if there is none.

    Arguments:
        spec: The canonical text of the training images.
        split: The other split: ``val`` or ``test``. Of its classes, those are opened that the training images have.
    """
    other = _other(spec, split)
    return None if other is None else reopen(str(other))


def lies_beside(spec: str | None, split: str) -> bool:
    """Whether `beside` finds images of the same arguments; none are opened."""
    return _other(spec, split) is not None


def _other(spec: str | None, split: str) -> Spec | None:
    """What the images of another split are called."""
    if not spec or spec.endswith(SUBSET):
        return None
    parsed = parse_spec(spec, canonical=True)
    if parsed.source != "folder" or parsed.arguments.get("split") != "train":
        return None
    if split not in find_splits(Path(parsed.arguments["where"])):
        return None
    # Groups are found in the same way, so that the two can be compared.
    view = {name: value for name, value in parsed.view.items() if name in CHANGES or name == "group"}
    if chosen := _classes(parsed, split):
        view = {"classes": chosen, **view}
    return replace(parsed, arguments=parsed.arguments | {"split": split}, view=view)


def _classes(parsed: Spec, split: str) -> str:
    """Those of the chosen training classes that another split has; empty where all are."""
    if "classes" not in parsed.view:
        return ""
    where, order = parsed.arguments["where"], parsed.arguments.get("order")
    own, others = (class_names(split_folders(where, one), order) for one in ("train", split))
    chosen = {own[place] for place in class_positions(parsed.view["classes"], own, f"folder:{where}")}
    return ",".join(encoded_item(name) for name in others if name in chosen)
