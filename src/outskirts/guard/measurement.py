"""What was measured of a guard, to be looked at and kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .. import notebook
from ..paths import output_path
from .measured import Measured
from .measured_files import rows, table
from .measured_page import save_page

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Measurement"]


class Measurement(Measured):
    """What was measured of a guard; see `outskirts.guard.guard.Guard.measure`."""

    def save(self, page: Path | str, name: str = "") -> Path:
        """Write one self-contained HTML page, and its numbers beside it as ``.csv`` and ``.json``; returns the page.

        Arguments:
            page: The page, a file ``.html`` that is not there yet.
            name: What the page calls the guard; its classifier and detector unless given.

        Raises:
            OutskirtsError: If a file is there already, or the name ends otherwise.
        """
        return save_page(self, output_path(page), name)

    def table(self) -> Table:
        """The shares and areas for a terminal."""
        return table(self)

    def __repr__(self) -> str:
        return f"Measurement({self.verdict()})"

    def _repr_html_(self) -> str:
        lines = [
            (f"{measure} {group} {of}".strip(), "" if n is None else f"{n:,}", f"{value:.4f}")
            for measure, group, of, n, _, value, *_ in rows(self)
        ]
        return notebook.table("Guard", lines, header=("", "images", "value"), notes=(*self.verdicts(), *self.notes))
