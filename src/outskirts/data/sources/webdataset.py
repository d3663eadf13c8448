"""Labels of samples in webdataset's layout: files that share all of their name up to its first dot are one sample."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ...errors import OutskirtsError
from .labels import class_indices, named_in_order, whole_number

__all__ = ["LABEL_PARTS", "key_and_part", "label_of", "labels_of", "require_one_image"]

#: What the name of a file that holds a label ends in: the label itself, or a mapping with the key ``label``.
LABEL_PARTS = ("cls", "json")


def key_and_part(name: str) -> tuple[str, str]:
    """The sample that a file belongs to, and which part of it the file is.

    >>> key_and_part("a/0001.seg.png")
    ('a/0001', 'seg.png')
    """
    folder, slash, file = name.rpartition("/")
    stem, _, part = file.partition(".")
    return folder + slash + stem, part.lower()


def label_of(part: str, content: bytes, where: str) -> str | None:
    """The label in a file of a sample, a number or a name; None if it holds no label.

    Arguments:
        part: One of `LABEL_PARTS`.
        content: Content of the file.
        where: How errors call it.
    """
    try:
        text = content.decode("utf-8-sig")
        found: Any = json.loads(text) if part == "json" else text.strip()
    except (ValueError, RecursionError) as error:
        raise OutskirtsError(f"{where} holds no label: it is not readable as {part} ({error}).") from error
    if part == "json":
        found = found.get("label") if isinstance(found, dict) else None
    return str(found) if isinstance(found, int | str) and not isinstance(found, bool) and str(found) else None


def labels_of(texts: Sequence[str | None], where: str) -> tuple[Tensor, list[str]]:
    """Labels [N], -1 where there is none, and the names of the classes.

    Arguments:
        texts: The label of each image.
        where: How errors call them.
    """
    known = [text for text in texts if text is not None and text != "-1"]
    if all(text.isascii() and text.isdecimal() for text in known):
        numbers = [whole_number(text) if text not in (None, "-1") else -1 for text in texts]
        labels = class_indices(numbers, len(numbers), where)
        return labels, [str(number) for number in range(int(labels.max()) + 1)]
    return named_in_order([None if text == "-1" else text for text in texts])


def require_one_image(names: Sequence[str], where: str) -> None:
    """Raise if two images are of one sample, such as a photograph and its mask."""
    parts = defaultdict(list)
    for name in names:
        key, part = key_and_part(name)
        parts[key].append(part)
    for key, several in parts.items():
        if len(several) > 1:
            raise OutskirtsError(
                f"The sample {key} of {where} has several images ({', '.join(several)}); choose one of them with "
                f"?image={several[0]}."
            )
