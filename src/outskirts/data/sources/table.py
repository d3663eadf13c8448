"""Tables of image files in CSV, such as those that come with Waterbirds and CelebA."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from ...errors import OutskirtsError
from ...files import is_file
from ..attribute import Attribute
from ..imageset import ImageSet
from ..option_text import Listing, items
from .csv_table import read_table
from .grouping import by_column
from .identifiers import files_of
from .labels import IN_PATH, class_indices, named, whole_number
from .one_hot import one_hot
from .spec import source

__all__ = ["table"]


@source("csv")
def table(
    where: Path,
    root: Path,
    image: str = "image",
    label: str = "label",
    attribute: str | None = None,
    group: str | None = None,
    rows: Listing | None = None,
    labels: Listing | None = None,
) -> ImageSet:
    """A table with a header and a line for each image.

    Arguments:
        where: The table, whose cells are parted by commas, semicolons or tabs.
        root: The folder that its paths start from.
        image: The column of paths. A name without suffix stands for the image file that is called so but for the
            suffix.
        label: The column of labels, numbers from 0 or names; ``none`` for images without labels.
        attribute: A column of what else is known of each image, numbers from 0 or names.
        group: A column of what each image is of, such as a patient; or ``path:PATTERN``, see `by_path`.
        rows: Which lines: ``COLUMN:VALUE``, such as ``split:0``; all unless given. Several are parted by commas,
            and a line must have them all.
        labels: In the place of `label`, a column for each class, such as ``melanoma,nevus``, of which in each line one
            holds 1 and the others 0.
    """
    if labels and label != "label":
        raise OutskirtsError(f"Both label={label} and labels={labels} are given; choose one of them.")
    classes_in = items(labels) if labels else [] if label == "none" else [label]
    in_column = group is not None and not group.startswith(IN_PATH)
    known = read_table(where, [image, *classes_in, *filter(None, [attribute, group if in_column else None])])
    if not root.is_dir():
        raise OutskirtsError(f"There is no folder {root}; write csv:FILE@ROOT.")
    known = known.chosen(rows)
    names = known.column(image)
    paths = files_of(names, root)
    # One look tells a wrong root; a missing file in the middle is named when it is decoded.
    if not is_file(paths[-1]):
        raise OutskirtsError(f"{where} lists {names[-1]}, which is not in {root}; write csv:FILE@ROOT.")

    def values(column: str) -> tuple[Tensor, list[str]]:
        return _coded(known.column(column), f"The column '{column}' of {where}")

    unlabeled: tuple[None, list[str]] = None, []
    numbers, classes = one_hot(known, labels) if labels else values(label) if classes_in else unlabeled
    other = None
    if attribute:
        index, meanings = values(attribute)
        other = Attribute(attribute, tuple(meanings), index)
    of = by_column(group, known.column(group), str(where)) if group is not None and in_column else None
    return ImageSet(paths, numbers, classes, f"csv:{where}", attribute=other, group=of)


def _coded(values: Sequence[str], where: str) -> tuple[Tensor, list[str]]:
    """Numbers as they are, names by their positions in alphabetical order."""
    if "" in values:
        raise OutskirtsError(f"{where} is empty in line {values.index('') + 1} of the chosen lines.")
    if all(value.isdecimal() for value in values):
        numbers = class_indices([whole_number(value) for value in values], len(values), where)
        return numbers, [str(number) for number in range(int(numbers.max()) + 1)]
    if negative := next((value for value in values if re.fullmatch(r"-\d+", value)), None):
        raise OutskirtsError(
            f"{where} has the value {negative}; values are names, or numbers from 0. For images without labels, write "
            "?label=none."
        )
    return named(values)
