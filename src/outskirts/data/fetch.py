"""Image sets from the net, fetched by name into the folder of all sets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..errors import OutskirtsError, unknown
from ..telling import Progress, Say, nobody, silence
from ..texts import counted
from .benchmark import benchmarks, describe_benchmark
from .catalogue import Entry, entries, fetch_entry, known
from .sources import open as open_images
from .sources.spec import data_folder
from .sources.torchvision_sets import SETS

__all__ = ["catalogue", "fetch"]

_TORCHVISION = "https://docs.pytorch.org/vision/stable/generated/torchvision.datasets.{}.html"


def catalogue() -> Mapping[str, Entry]:
    """All image sets that `fetch` takes, by name, with their sources and terms; those of torchvision have no files."""
    theirs = {
        name: Entry(name, f"{one.name}, downloaded by torchvision", _TORCHVISION.format(one.name), "see its page")
        for name, one in sorted(SETS.items())
    }
    return {**entries(), **theirs}


def fetch(name: str, *, say: Say = silence, progress: Progress = nobody) -> list[Path]:
    """Download a set of images, or all sets of a benchmark; what is there already is not fetched again.

    Arguments:
        name: A set of the catalogue or of torchvision, or a benchmark. ``outskirts data fetch list`` names them. Of a
            benchmark and a set of torchvision of one name, this means the benchmark: torchvision's sets are downloaded
            when they are opened.
        say: Told where each set is, and under which terms it may be used.
        progress: Told the bytes that have arrived.

    Returns:
        The folders of the sets.

    Raises:
        OutskirtsError: If there is no such set, or it cannot be fetched. Of a benchmark, all others are fetched first.
    """
    if name in SETS and name not in benchmarks():
        say(f"{counted(len(open_images(name)), 'image')} in {data_folder()}; open them as {name}")
        return [data_folder()]
    if name in entries():
        return [_fetched(known(name), say, progress)]
    if name not in benchmarks():
        raise unknown("image set or benchmark to fetch", name, [*catalogue(), *benchmarks()])
    folders, failed = [], 0
    for needed in describe_benchmark(name)["needs"]:
        try:
            folders.append(_fetched(known(needed), say, progress))
        except OutskirtsError as error:
            failed += 1
            say(str(error))
    if failed:
        raise OutskirtsError(f"{failed} of the sets of '{name}' could not be fetched; the reasons are above.")
    return folders


def _fetched(entry: Entry, say: Say, progress: Progress) -> Path:
    folder = fetch_entry(entry, data_folder(), lambda done, total: progress(entry.name, done, total), say)
    opened = "" if entry.folder else f"; open it as {entry.name}"
    say(f"{entry.name} is in {folder}{opened}. Terms: {entry.licence}.")
    return folder
