"""Texts in the cells of CSV files, which spreadsheets would run where they look like formulas."""

from __future__ import annotations

import re

__all__ = ["guarded", "unguarded"]

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
#: A number, or a difference with its p-value.
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?( \(p (< )?[0-9.]+\))?", re.I)


def guarded(text: str, numbers: bool = False) -> str:
    """A text as a cell that no spreadsheet takes for a formula: an apostrophe precedes it where needed.

    Arguments:
        text: The text.
        numbers: Whether what is a number stays as it is.

    >>> guarded("=SUM(A1)"), guarded("-1"), guarded("-1", numbers=True), guarded("ce")
    ("'=SUM(A1)", "'-1", '-1', 'ce')
    """
    if numbers and _NUMBER.fullmatch(text):
        return text
    return f"'{text}" if _FORMULA.match(text) else text


def unguarded(cell: str) -> str:
    """The text of a cell that `guarded` wrote.

    >>> unguarded(guarded("=SUM(A1)")), unguarded("'tis")
    ('=SUM(A1)', "'tis")
    """
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
