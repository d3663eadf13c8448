"""Outputs on disk, under a name that says exactly what they are of."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from ..data.imageset import ImageSet
from ..data.likeness import load_likenesses
from ..data.losses import Losses
from ..errors import OutskirtsError
from ..files import digest, load_tensors
from ..models.classifier import Classifier
from .forward import LIKENESS, PASS

__all__ = ["LOSSES", "SET", "address", "stored"]

#: Part of every address; raised when the meaning of what is stored changes.
_STORE = 1

#: What the set is called in the file of its likeness.
SET = "images"


#: The file that says what the images lose on their way, where they lose much.
LOSSES = "losses.json"


def address(classifier: Classifier, image_set: ImageSet, precision: str, keep: str) -> str:
    """The name of the folder of one classifier's outputs for one set."""
    transform = json.dumps(classifier.transform.to_json(), sort_keys=True)
    weights = classifier.fingerprint()
    return digest(
        str(_STORE),
        classifier.architecture,
        weights,
        transform,
        image_set.fingerprint,
        precision,
        *[keep][: keep != "fp32"],
    )


def stored(
    folder: Path | None, probes: Iterable[str], image_set: ImageSet, skip_corrupt: bool
) -> dict[str, dict[str, Tensor]]:
    """What the store holds of the pass and of these probes; `image_set` is told its likeness and its losses, where
    they are known.
    """
    likenesses = {} if folder is None else load_likenesses(folder / f"{LIKENESS}.safetensors")
    image_set.likeness = likenesses.get(SET)
    image_set.losses = None if folder is None else Losses.load(folder / LOSSES)
    known: dict[str, dict[str, Tensor]] = {}
    for name, columns in {PASS: {"features", "logits", "labels"}, **{key: {"values"} for key in probes}}.items():
        file = None if folder is None else folder / f"{name}.safetensors"
        if file is None or not file.is_file():
            continue
        try:
            tensors, about = load_tensors(file, kind={"skipped": [str]})
            if tensors.keys() != columns:
                raise OutskirtsError(f"{file} does not hold outputs.")
        except OutskirtsError as error:
            raise OutskirtsError(f"{error} Delete the file, and it is made again.") from error
        if about["skipped"] and not skip_corrupt:
            return {}  # The pass that follows names the corrupt image.
        image_set.skipped = about["skipped"]
        known[name] = tensors
    return known
