"""A matrix: what was asked, which is kept beside the runs, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import OutskirtsError
from ..files import load_json, save_json
from .jobs import Cell
from .leaderboard import Standing, standings
from .method_runs import Contender, contenders

__all__ = ["Matrix"]

_FILE = "matrix.json"


@dataclass(frozen=True)
class Matrix:
    """The runs of a benchmark.

    Arguments:
        title: The benchmark's name.
        description: What it is.
        notes: What a reader of its results should know.
        command: That makes the runs.
        cells: The runs.
    """

    title: str
    description: str
    notes: str
    command: str
    cells: Sequence[Cell]

    @cached_property
    def contenders(self) -> list[Contender]:
        """The methods of which a run is there, as the run folders say when this is first asked."""
        return contenders(self.cells)

    @cached_property
    def standings(self) -> list[Standing]:
        """Of those, against the first of the plan."""
        return standings(self.contenders, self.cells[0].label if self.cells else "")

    def save(self, folder: Path) -> None:
        """Write ``matrix.json``."""
        folder.mkdir(parents=True, exist_ok=True)
        about = asdict(self)
        for cell in about["cells"]:
            cell["folder"] = cell["folder"].name
        save_json(folder / _FILE, about)

    @classmethod
    def load(cls, folder: Path) -> Matrix:
        """Read what `save` wrote, wherever the folder is now."""
        if not (folder / _FILE).is_file():
            raise OutskirtsError(f"{folder} is not the folder of a benchmark's runs: it has no {_FILE}.")
        about: dict[str, Any] = load_json(folder / _FILE)
        try:
            cells = [
                Cell(**{**cell, "detectors": tuple(cell["detectors"]), "folder": folder / cell["folder"]})
                for cell in about.pop("cells")
            ]
            return cls(cells=cells, **about)
        except (AttributeError, KeyError, TypeError) as error:
            raise OutskirtsError(f"{folder / _FILE} is damaged, or of another version ({error}).") from error
