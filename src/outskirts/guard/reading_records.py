"""The rows of files that `outskirts.guard.records` wrote."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import OutskirtsError
from ..evaluation.csv_cells import unguarded
from ..files import reading
from .records import SUFFIXES, require_pyarrow

__all__ = ["verdict_rows"]

_TRUTHS = {"true": True, "false": False, True: True, False: False}


def verdict_rows(file: Path) -> Iterator[tuple[str | None, bool]]:
    """The predicted class of each image that was read, and whether it was accepted, in the order of the file.

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
                if row.get("error") and row.get("accepted") in ("", None):
                    continue
                if (accepted := row.get("accepted")) not in _TRUTHS:
                    raise OutskirtsError(
                        f"Row {number} of {file} does not say whether the image was accepted; pass a file that "
                        "'outskirts predict' wrote."
                    )
                yield row.get("label") or None, _TRUTHS[accepted]
        except (ValueError, csv.Error, AttributeError) as error:
            raise OutskirtsError(f"{file} is damaged: {error}.") from error


def _csv(file: Path) -> Iterator[dict[str, Any]]:
    with file.open(encoding="utf-8-sig", newline="") as text:
        for row in csv.DictReader(text):
            yield {name: unguarded(cell) if cell else cell for name, cell in row.items()}


def _json_lines(file: Path) -> Iterator[dict[str, Any]]:
    with file.open(encoding="utf-8") as text:
        yield from map(json.loads, text)


def _parquet(file: Path) -> Iterator[dict[str, Any]]:
    pyarrow = require_pyarrow()
    import pyarrow.parquet as pq

    try:
        for batch in pq.ParquetFile(file).iter_batches():
            yield from batch.to_pylist()
    except pyarrow.ArrowException as error:
        raise OutskirtsError(f"{file} cannot be read as a Parquet file ({error}).") from error


_READERS = {".csv": _csv, ".jsonl": _json_lines, ".parquet": _parquet}
