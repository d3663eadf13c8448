"""Whether what was fetched or made is still what it was, byte by byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..files import load_json
from ..telling import Say, silence
from ..texts import counted
from .catalogue import RECORD, entries, verify_fetched
from .sources.pool import verify_pool
from .sources.spec import data_folder

__all__ = ["verify"]


def verify(folder: Path | str, *, say: Say = silence) -> dict[str, Any]:
    """Compare a fetched set, or a pool of synthetic images, with its record, byte by byte.

    Arguments:
        folder: The folder, or the name of a fetched set; a pool may be given as ``pool:DIR``.
        say: Told that it is whole, and what it holds.

    Returns:
        The record: of a fetched set, its name and the hash of each file; of a pool, its manifest.

    Raises:
        OutskirtsError: If a file is missing, left over or changed, or the folder has no record.
    """
    named = str(folder) in entries()
    place = entries()[str(folder)].place(data_folder()) if named else Path(str(folder).removeprefix("pool:"))
    place = place.absolute()
    if named or (place / RECORD).is_file():
        say(f"{place} is whole: {counted(verify_fetched(place), 'file')}, as they were fetched.")
        return load_json(place / RECORD)
    about = verify_pool(place)
    made_by = about["generator"]["name"]
    say(
        f"{folder} is whole: {counted(about['count'], 'image')} of {counted(len(about['classes']), 'class')}, made by "
        f"{made_by}."
    )
    return about
