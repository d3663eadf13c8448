"""Outputs in one file, for other tools."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.imageset import ImageSet
from ..data.notes import left_out, notes_of
from ..errors import OutskirtsError
from ..files import atomic, make_folder, save_tensors
from ..telling import Say, silence
from ..temporary import require_last_name, require_new
from ..texts import counted, listed, verb
from .outputs import Outputs

__all__ = ["require_outputs_file", "save_outputs"]

#: Bytes of names that fit into a safetensors file: the library reads no header of more than 100 MB.
_MOST_NAMES = 80_000_000


def require_outputs_file(file: Path, images: ImageSet) -> None:
    """Raise unless outputs of these images can be written to a file of this name, which must be new.

    Raises:
        OutskirtsError: If the suffix is another than ``.npz`` or ``.safetensors``, the file is there, or it cannot hold
            the names of so many images.
    """
    require_last_name(file)
    if file.suffix not in _WRITERS:
        raise OutskirtsError(
            f"Outputs are written to a file whose name ends in {' or '.join(_WRITERS)}, not to {file}."
        )
    require_new(file)
    if file.suffix == ".safetensors" and _names_bytes(images) > _MOST_NAMES:
        raise OutskirtsError(f"{file} cannot hold the names of {len(images):,} images; write an .npz file.")


def save_outputs(
    file: Path, outputs: Outputs, images: ImageSet, classes: Sequence[str] = (), say: Say = silence
) -> None:
    """Write features [N, D], logits [N, C], labels [N], and the head's weight [C, D] and bias [C] to one file.

    Logits, weight and bias are missing where there are none. Beside them are ``names``, those of the images [N], and
    ``classes``, those of the classes [C]. The file appears when it is whole.

    Arguments:
        file: A new file whose name ends in ``.npz`` (NumPy arrays) or in ``.safetensors`` (tensors, with names and
            classes as JSON in the metadata).
        outputs: What `outskirts.extract` gave for the images.
        images: The images, in the same order; those that were left out as corrupt are in their `skipped`.
        classes: Names of the classifier's classes, in the order of the logits, whose places the labels are. Those of
            the images, unless given.
        say: Told of classes that the classifier lacks, of images that were left out, and where the file is.

    Raises:
        OutskirtsError: As of `require_outputs_file`, or if the outputs are of other images.
    """
    require_outputs_file(file, images)
    names = images.kept_names()
    if len(names) != len(outputs):
        raise OutskirtsError(
            f"There are outputs of {counted(len(outputs), 'image')}, but {len(names)} names of images."
        )
    classes = list(classes) or images.classes
    columns = {"features": outputs.features, "logits": outputs.logits, "labels": outputs.labels}
    if outputs.head is not None:
        columns |= outputs.head._asdict()
    make_folder(file.parent)
    tensors = {name: values for name, values in columns.items() if values is not None}
    _WRITERS[file.suffix](file, tensors, {"names": names, "classes": classes})
    for sentence in (*_strange(images, classes), *notes_of({"Images": images}), *left_out(images.skipped)):
        say(sentence)
    say(f"Outputs of {counted(len(outputs), 'image')} in {file}: {', '.join(tensors)}, names, classes.")


def _strange(images: ImageSet, classes: Sequence[str]) -> Iterator[str]:
    """What to say of images whose class is none of these."""
    known = set(classes)
    strangers = [place for place, name in enumerate(images.classes) if name not in known]
    if lost := int(torch.isin(images.labels, torch.tensor(strangers, dtype=torch.long)).sum()):
        names = [images.classes[place] for place in strangers]
        yield (
            f"{counted(lost, 'image')} {verb(lost, 'are')} of classes that the classifier lacks ({listed(names)}); "
            "their labels are -1."
        )


def _names_bytes(images: ImageSet) -> int:
    return sum(len(json.dumps(images.name(i))) + 4 for i in range(len(images)))


def _save_arrays(file: Path, tensors: Mapping[str, Tensor], texts: Mapping[str, Sequence[str]]) -> None:
    # Of any kind, as NumPy's types take the names of arrays for those of its options.
    arrays: dict[str, Any] = {name: values.numpy() for name, values in tensors.items()}
    arrays |= {name: np.array(values, dtype=str) for name, values in texts.items()}
    with atomic(file) as temporary:
        np.savez(temporary, **arrays)


_WRITERS: Mapping[str, Callable[[Path, Mapping[str, Tensor], Mapping[str, Sequence[str]]], None]] = {
    ".npz": _save_arrays,
    ".safetensors": save_tensors,
}
