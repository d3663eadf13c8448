"""Verdicts as rows of a file: CSV, JSON lines or Parquet."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from ..errors import MissingExtra, OutskirtsError
from ..evaluation.csv_cells import guarded
from ..temporary import require_last_name
from ..texts import in_unicode
from .verdicts import Verdict

__all__ = [
    "SUFFIXES",
    "Record",
    "columns",
    "record_of",
    "require_pyarrow",
    "require_suffix",
    "unread_record",
    "writer",
    "writer_of_text",
]

#: A row: the values by the names of `columns`; None where there is none.
Record = dict[str, Any]

#: Endings of the files that verdicts are written to.
SUFFIXES = (".csv", ".jsonl", ".parquet")


def columns(top: int = 1, fdr: bool = False) -> list[str]:
    """The names of the columns.

    Arguments:
        top: How many of the most probable classes there are.
        fdr: Whether there is a column for what a false discovery rate declares.

    >>> columns(top=2)
    ['file', 'label', 'confidence', 'score', 'p_value', 'accepted', 'label_2', 'confidence_2', 'error']
    """
    more = [f"{name}_{rank}" for rank in range(2, top + 1) for name in ("label", "confidence")]
    return [*Verdict._fields[:-1], *more, *(["declared_ood"] if fdr else []), "error"]


def record_of(verdict: Verdict) -> Record:
    """The row of an image that was looked at."""
    row: Record = {name: getattr(verdict, name) for name in Verdict._fields[:-1]}
    row["file"] = in_unicode(verdict.file)
    for rank, (label, confidence) in enumerate(verdict.top[1:], start=2):
        row |= {f"label_{rank}": label, f"confidence_{rank}": confidence}
    for name, value in row.items():
        if name.startswith("confidence") and value is not None and not math.isfinite(value):
            row[name] = None
    if not math.isfinite(verdict.score):
        # No format but Python's own has such numbers.
        row |= {"score": None, "error": f"the score is {verdict.score}"}
    return row


def unread_record(file: str, why: str) -> Record:
    """The row of an image that could not be read."""
    return {"file": in_unicode(file), "error": in_unicode(why)}


def require_suffix(file: Path) -> Path:
    """Raise unless verdicts can be written to a file of this name; returns it."""
    require_last_name(file)
    if file.suffix not in SUFFIXES:
        raise OutskirtsError(f"Verdicts are written to a file whose name ends in {', '.join(SUFFIXES)}, not to {file}.")
    if file.suffix == ".parquet":
        require_pyarrow()
    return file


@contextmanager
def writer(suffix: str, file: Path, names: Sequence[str]) -> Iterator[Callable[[Sequence[Record]], None]]:
    """What writes rows to a new file, which is whole when the block ends.

    Arguments:
        suffix: One of `SUFFIXES`.
        file: The file.
        names: Names of the columns.
    """
    if suffix == ".parquet":
        with _parquet(file, names) as write:
            yield write
        return
    with file.open("w", encoding="utf-8", newline="") as text:
        yield _Csv(text, names) if suffix == ".csv" else _JsonLines(text, names)


def writer_of_text(text: TextIO, names: Sequence[str]) -> Callable[[Sequence[Record]], None]:
    """What writes rows as CSV to an open text."""
    return _Csv(text, names)


class _Csv:
    def __init__(self, text: TextIO, names: Sequence[str]) -> None:
        self.rows = csv.writer(text, lineterminator="\n")
        self.names = names
        self.rows.writerow(names)

    def __call__(self, rows: Sequence[Record]) -> None:
        self.rows.writerows([_cell(row.get(name)) for name in self.names] for row in rows)


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return guarded(value) if isinstance(value, str) else value


class _JsonLines:
    def __init__(self, text: TextIO, names: Sequence[str]) -> None:
        self.text, self.names = text, names

    def __call__(self, rows: Sequence[Record]) -> None:
        for row in rows:
            self.text.write(json.dumps({name: row.get(name) for name in self.names}, ensure_ascii=False) + "\n")


@contextmanager
def _parquet(file: Path, names: Sequence[str]) -> Iterator[Callable[[Sequence[Record]], None]]:
    pa = require_pyarrow()
    import pyarrow.parquet as pq

    kinds: Mapping[str, Any] = {"accepted": pa.bool_(), "declared_ood": pa.bool_()}
    numbers = ("confidence", "score", "p_value")
    schema = pa.schema(
        [(name, kinds.get(name) or (pa.float64() if name.startswith(numbers) else pa.string())) for name in names]
    )
    with pq.ParquetWriter(file, schema) as table:
        yield lambda rows: table.write_table(
            pa.Table.from_pylist([{name: row.get(name) for name in names} for row in rows], schema)
        )


def require_pyarrow() -> Any:
    """The library of Parquet files, or an error that says how it is installed."""
    try:
        import pyarrow
    except ModuleNotFoundError as error:
        raise MissingExtra("A Parquet file", "parquet") from error
    return pyarrow
