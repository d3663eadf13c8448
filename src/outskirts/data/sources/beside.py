"""The validation and test images that lie beside the training images, in another sub-folder of the same set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..corruptions import CHANGES
from ..imageset import SUBSET, ImageSet
from ..option_text import encoded_item
from .spec import parse_spec, reopen
from .splits import find_splits

__all__ = ["beside"]


def beside(spec: str | None, split: str) -> ImageSet | None:
    """Another split of the folder that training images are of; None if there is none.

    Arguments:
        spec: The canonical text of the training images.
        split: The other split: ``val`` or ``test``. Of its classes, those are opened that the training images have.
    """
    if not spec or spec.endswith(SUBSET):
        return None
    parsed = parse_spec(spec, canonical=True)
    if parsed.source != "folder" or parsed.arguments.get("split") != "train":
        return None
    if split not in find_splits(Path(parsed.arguments["where"])):
        return None
    # Groups are found in the same way, so that the two can be compared.
    view = {name: value for name, value in parsed.view.items() if name in CHANGES or name == "group"}
    other = replace(parsed, arguments=parsed.arguments | {"split": split}, view=view)
    images = reopen(str(other))
    if "classes" in parsed.view:
        classes = reopen(spec).classes
        chosen = ",".join(encoded_item(name) for name in images.classes if name in classes)
        images = reopen(str(replace(other, view={"classes": chosen, **view}))) if chosen else images
    return images
