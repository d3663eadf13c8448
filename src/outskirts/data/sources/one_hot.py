"""Labels in a column for each class, with 1 in one of them."""

from __future__ import annotations

import torch
from torch import Tensor

from ...errors import OutskirtsError
from ...texts import listed
from ..option_text import items
from .csv_table import Table

__all__ = ["one_hot"]

_VALUES = {0.0: False, 1.0: True}

#: What to do where images have several labels.
_SEVERAL = (
    "as each image has one class here. A network that gives an image several labels is measured without them, in "
    "Python: outskirts.evaluate takes what outskirts.extract gives of folders of images, and detectors such as "
    "joint_energy."
)


def one_hot(table: Table, columns: str) -> tuple[Tensor, list[str]]:
    """Labels [N] and the names of the classes, which are those of the columns.

    Arguments:
        table: The table.
        columns: The columns, parted by commas; in each line, one of them holds 1 and the others 0.
    """
    names = items(columns)
    cells = [table.column(name) for name in names]
    labels = []
    for (number, _), row in zip(table.lines, zip(*cells)):
        ones = [_is_one(cell, f"{table.file}, line {number}: '{name}'") for name, cell in zip(names, row)]
        if sum(ones) != 1:
            found = f"has 1 in {listed([n for n, one in zip(names, ones) if one])}" if any(ones) else "has 1 in none"
            raise OutskirtsError(
                f"{table.file}, line {number} {found} of the columns {listed(names)}; one of them must hold 1. Choose "
                f"lines with ?rows=COLUMN:VALUE, {_SEVERAL if any(ones) else 'or name all columns of classes.'}"
            )
        labels.append(ones.index(True))
    return torch.tensor(labels), names


def _is_one(cell: str, where: str) -> bool:
    try:
        return _VALUES[float(cell)]
    except (ValueError, KeyError) as error:
        raise OutskirtsError(f"{where} is '{cell}'; in columns of classes, values are 0 or 1.") from error
