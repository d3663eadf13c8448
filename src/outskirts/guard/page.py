"""Where a page is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import OutskirtsError
from ..files import is_file

__all__ = ["require_page"]


def require_page(page: Path, beside: Sequence[str] = ()) -> Path:
    """Raise unless a new page can be written; returns it.

    Arguments:
        page: The page.
        beside: Endings of other files that are written beside it, such as ``.csv``.
    """
    if page.suffix != ".html":
        raise OutskirtsError(f"The page is a file whose name ends in .html, not {page}.")
    for file in (page, *map(page.with_suffix, beside)):
        if is_file(file):
            raise OutskirtsError(f"{file} is there already; choose another name, or remove it.")
    return page
