"""The page about what was measured of a guard."""

from __future__ import annotations

from pathlib import Path

from ..evaluation.shareable import Shareable
from ..files import make_folder, write_text
from ..reporting.environment import environment
from .measured import Measured
from .measured_files import NUMBERS, save_numbers, thinned
from .page import require_page

__all__ = ["save_page"]


def save_page(measured: Measured, page: Path, name: str = "") -> Path:
    """Write one self-contained HTML page, and its numbers beside it as ``.csv`` and ``.json``; returns the page.

    Arguments:
        measured: What was measured.
        page: The page, a file ``.html`` that is not there yet.
        name: What the page calls the guard; its classifier and detector unless given.

    Raises:
        OutskirtsError: If a file is there already, or the name ends otherwise.
    """
    require_page(page, NUMBERS)
    make_folder(page.parent)
    template = environment(__package__).get_template("measured.html.j2")
    curves = {} if measured.correct is None else {k: thinned(one) for k, one in measured.correct.curves.items()}
    called = name or f"{measured.about['classifier']} with {measured.about['detector']}"
    text = template.render(measured=measured, curves=curves, name=Shareable().text(called), numbers=page.stem)
    write_text(page, text)
    save_numbers(measured, page)
    return page
