"""Pages are made again and again in one place, but not in that of the files of others."""

from __future__ import annotations

from pathlib import Path

from ..errors import OutskirtsError
from ..files import is_file, reading

__all__ = ["require_own_page"]


def require_own_page(page: Path, mark: str) -> None:
    """Raise if a file is there that is not an earlier version of a page.

    Arguments:
        page: The page that is to be written.
        mark: What each such page holds, and no other file.
    """
    if not page.exists() or page.is_dir():
        return
    with reading(page):
        own = is_file(page) and mark.encode() in page.read_bytes()
    if not own:
        raise OutskirtsError(
            f"{page} is there already, and it is no page that outskirts has made; choose another name, or remove it."
        )
