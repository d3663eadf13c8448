"""The rows of files that `outskirts.guard.records` wrote."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..errors import OutskirtsError
from ..evaluation.csv_cells import unguarded
from ..files import reading
from ..texts import listed
from .calibration import Calibration
from .records import SUFFIXES, require_pyarrow

__all__ = ["Row", "of_guard", "verdict_rows"]

#: Rows that are compared with a guard at once, and the difference of p-values that rounding can make.
_BLOCK, _SAME = 1000, 1e-9

_TRUTHS = {"true": True, "false": False, "True": True, "False": False}


class Row(NamedTuple):
    """What a file says of an image that was read.

    Arguments:
        label: Predicted class, if the classifier gives one.
        accepted: Whether it was accepted.
        score: Score of the detector, where the file has it as a finite number.
        p_value: p-value of the score, where the file has both.
    """

    label: str | None
    accepted: bool
    score: float | None = None
    p_value: float | None = None


def verdict_rows(file: Path) -> Iterator[Row]:
    """What a file says of each image that was read, in its order.

    Arguments:
        file: A file ``.csv``, ``.jsonl`` or ``.parquet`` with the columns ``label`` and ``accepted``.

    Raises:
        OutskirtsError: If it is no such file.
    """
    if file.suffix not in _READERS:
        raise OutskirtsError(f"{file} is none of the files that verdicts are written to: {', '.join(SUFFIXES)}.")
    rows = _READERS[file.suffix](file)
    with reading(file):
        try:
            for number, row in enumerate(rows, start=1):
                if not isinstance(row, dict):
                    raise ValueError(f"row {number} is no mapping of columns")
                if row.get("error") and row.get("accepted") in ("", None):
                    continue
                yield Row(_text(row.get("label"), number), _truth(row.get("accepted"), number), *_numbers(row, number))
        except (ValueError, csv.Error, RecursionError) as error:
            raise OutskirtsError(
                f"{file} is none that 'outskirts predict' wrote, or it is damaged: {error or 'it is nested too deep'}."
            ) from error


def of_guard(rows: Iterable[Row], calibration: Calibration, classes: Sequence[str], file: Path) -> Iterator[Row]:
    """The same rows, once their p-values are known to be those of a guard.

    Arguments:
        rows: Rows of a file.
        calibration: Calibration of the guard.
        classes: Names of its classes.
        file: Where they were read, for errors.

    Raises:
        OutskirtsError: If they are the verdicts of another guard.
    """
    places = {name: place for place, name in enumerate(classes)}
    left, alone = iter(rows), calibration.group_of is None
    while block := list(islice(left, _BLOCK)):
        for row in block:
            if row.label is not None and row.label not in places:
                raise _other_guard(file, f"it has no class '{row.label}'; its classes are {listed(list(classes))}")
        known = [row for row in block if row.p_value is not None and (row.label is not None or alone)]
        scores = torch.tensor([row.score for row in known], dtype=torch.float64)
        predicted = None if alone else torch.tensor([places[str(row.label)] for row in known], dtype=torch.int64)
        for row, mine in zip(known, calibration.p_values(scores, predicted).tolist()):
            if abs(mine - (row.p_value or 0)) > _SAME:
                raise _other_guard(file, f"it gives the score {row.score:g} the p-value {mine:g}, not {row.p_value:g}")
        yield from block


def _other_guard(file: Path, why: str) -> OutskirtsError:
    return OutskirtsError(
        f"{file} has the verdicts of another guard than this one: {why}. Name the guard that gave them."
    )


def _truth(value: Any, number: int) -> bool:
    if isinstance(value, bool):
        return value
    if not isinstance(value, str) or value not in _TRUTHS:
        raise ValueError(f"row {number} does not say whether the image was accepted")
    return _TRUTHS[value]


def _text(value: Any, number: int) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError(f"row {number} has a label that is no text")
    return value or None


def _numbers(row: Mapping[str, Any], number: int) -> tuple[float | None, float | None]:
    """Score and p-value, where there are both."""
    found = []
    for name in ("score", "p_value"):
        value = row.get(name)
        if value in (None, ""):
            return None, None
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError(f"row {number} has a {name} that is no number")
        if not isfinite(value := float(value)):
            return None, None
        found.append(value)
    return found[0], found[1]


def _csv(file: Path) -> Iterator[Any]:
    with file.open(encoding="utf-8-sig", newline="") as text:
        table = csv.DictReader(text)
        if table.fieldnames is None:
            raise ValueError("it is empty")
        _require_column(table.fieldnames)
        for row in table:
            if None in row:
                raise ValueError(f"line {table.line_num} has more cells than there are columns")
            yield {name: unguarded(cell) if cell else cell for name, cell in row.items()}


def _require_column(names: Sequence[str]) -> None:
    """Raise unless a table, which may have no row, says of images whether they were accepted."""
    if "accepted" not in names:
        raise ValueError("it has no column 'accepted'")


def _json_lines(file: Path) -> Iterator[Any]:
    with file.open(encoding="utf-8") as text:
        yield from (json.loads(line) for line in text if line.strip())


def _parquet(file: Path) -> Iterator[Any]:
    pyarrow = require_pyarrow()
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(file)
        _require_column(table.schema_arrow.names)
        for batch in table.iter_batches():
            yield from batch.to_pylist()
    except pyarrow.ArrowException as error:
        raise OutskirtsError(f"{file} cannot be read as a Parquet file ({error}).") from error


_READERS = {".csv": _csv, ".jsonl": _json_lines, ".parquet": _parquet}
