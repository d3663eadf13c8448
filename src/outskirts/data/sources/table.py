"""Tables of image files in CSV, such as those that come with Waterbirds and CelebA."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ...errors import OutskirtsError, unknown
from ...files import is_file, reading
from ..attribute import Attribute
from ..imageset import ImageSet
from .grouping import by_column
from .labels import IN_PATH, class_indices, named, whole_number
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
    rows: str | None = None,
) -> ImageSet:
    """A table with a header and a line for each image.

    Arguments:
        where: The table, comma-separated.
        root: The folder that its paths start from.
        image: The column of paths.
        label: The column of labels, numbers from 0 or names; ``none`` for images without labels.
        attribute: A column of what else is known of each image, numbers from 0 or names.
        group: A column of what each image is of, such as a patient; or ``path:PATTERN``, see `by_path`.
        rows: Which lines: ``COLUMN:VALUE``, such as ``split:0``; all unless given. Several are parted by commas,
            and a line must have them all.
    """
    if not is_file(where):
        raise OutskirtsError(f"There is no file {where}; write csv:FILE@ROOT.")
    if not root.is_dir():
        raise OutskirtsError(f"There is no folder {root}; write csv:FILE@ROOT.")
    try:
        with reading(where), where.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            header, lines = reader.fieldnames or (), list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise OutskirtsError(f"{where} is not a table in CSV, in UTF-8 ({error}).") from error
    _require_complete(header, lines, where)
    for pair in rows.split(",") if rows else ():
        column, colon, value = pair.partition(":")
        if not colon:
            raise OutskirtsError(f"Lines are chosen as COLUMN:VALUE, not '{pair}'.")
        _require(column, header, where)
        lines = [line for line in lines if line[column] == value]
    if not lines:
        raise OutskirtsError(f"{where} has no line{f' with {rows}' if rows else ''}.")
    _require(image, header, where)
    paths = [root / (line[image] or "") for line in lines]
    # One look tells a wrong root; a missing file in the middle is named when it is decoded.
    if not is_file(paths[-1]):
        raise OutskirtsError(f"{where} lists {lines[-1][image]}, which is not in {root}; write csv:FILE@ROOT.")

    def values(column: str) -> tuple[Tensor, list[str]]:
        _require(column, header, where)
        return _coded([line[column] or "" for line in lines], f"The column '{column}' of {where}")

    of = None
    if group and not group.startswith(IN_PATH):
        _require(group, header, where)
        of = by_column(group, [line[group] or "" for line in lines], str(where))
    labels, classes = (None, []) if label == "none" else values(label)
    known = None
    if attribute:
        index, names = values(attribute)
        known = Attribute(attribute, tuple(names), index)
    return ImageSet(paths, labels, classes, f"csv:{where}", attribute=known, group=of)


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


def _require_complete(header: Sequence[str], lines: Sequence[dict[Any, Any]], where: Path) -> None:
    """Raise where a cell would be dropped: of a column that is there twice, or of no column."""
    if twice := next((name for place, name in enumerate(header) if name in header[:place]), None):
        raise OutskirtsError(f"{where} has the column '{twice}' twice; give each column its own name.")
    if wide := next((row for row, line in enumerate(lines, start=1) if any(line.get(None, ()))), None):
        raise OutskirtsError(f"{where} has more cells in row {wide} than there are columns; put commas in quotes.")


def _require(column: str, header: Sequence[str], where: Path) -> None:
    if column not in header:
        raise unknown("column", column, header, f"in {where}")
