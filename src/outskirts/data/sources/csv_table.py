"""The cells of a table in CSV, whatever parts them."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ...errors import OutskirtsError, unknown
from ...files import reading, require_file
from ..option_text import items

__all__ = ["Table", "read_table"]

#: What parts cells, the most usual first.
_DELIMITERS = (",", ";", "\t")


class Table(NamedTuple):
    """A table with a header.

    Arguments:
        file: Where it is.
        header: The names of its columns.
        lines: Lines below the header, each with the number of its last line in the file.
    """

    file: Path
    header: Sequence[str]
    lines: Sequence[tuple[int, Mapping[str, str]]]

    def require(self, column: str) -> None:
        """Raise unless there is a column of this name."""
        if column not in self.header:
            raise unknown("column", column, self.header, f"in {self.file}")

    def column(self, name: str) -> list[str]:
        """The cells of a column; those that are missing are empty."""
        self.require(name)
        return [line[name] or "" for _, line in self.lines]

    def chosen(self, rows: str | None) -> Table:
        """The lines that have all of some values, written as ``COLUMN:VALUE,COLUMN:VALUE``; at least one."""
        lines = self.lines
        for pair in items(rows) if rows else ():
            column, colon, value = pair.partition(":")
            if not colon:
                raise OutskirtsError(f"Lines are chosen as COLUMN:VALUE, not '{pair}'.")
            self.require(column)
            lines = [(number, line) for number, line in lines if line[column] == value]
        if not lines:
            raise OutskirtsError(f"{self.file} has no line{f' with {rows}' if rows else ''}.")
        return self._replace(lines=lines)


def read_table(file: Path, columns: Sequence[str]) -> Table:
    """A table whose cells are parted by commas, semicolons or tabs.

    Arguments:
        file: A file in UTF-8, or in UTF-16 with a byte order mark.
        columns: Names of columns that it should have; where they are found in the header tells what parts cells.
    """
    require_file(file, f"There is no file {file}; write csv:FILE@ROOT.")
    try:
        with reading(file):
            content = file.read_bytes()
        two_bytes = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = content.decode("utf-16" if two_bytes else "utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=_delimiter(text, columns), strict=True)
        header = reader.fieldnames or ()
        lines = [(reader.line_num, line) for line in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise OutskirtsError(f"{file} is not a table in CSV, in UTF-8 ({error}).") from error
    if twice := next((name for place, name in enumerate(header) if name in header[:place]), None):
        raise OutskirtsError(f"{file} has the column '{twice}' twice; give each column its own name.")
    if wide := next((row for row, (_, line) in enumerate(lines, start=1) if any(line.get(None, ()))), 0):
        raise OutskirtsError(f"{file} has more cells in row {wide} than there are columns; put commas in quotes.")
    return Table(file, header, lines)


def _delimiter(text: str, columns: Sequence[str]) -> str:
    """The one that finds most of the columns in the header; of several, the first."""

    def found(delimiter: str) -> int:
        try:
            header = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True), [])
        except csv.Error:
            return -1
        # Where none is there, an error will list what is.
        return 2 * sum(column in header for column in columns) + (len(header) > 1)

    return max(_DELIMITERS, key=found)
