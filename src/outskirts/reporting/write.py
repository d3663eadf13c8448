"""Run folders in, one page out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import OutskirtsError
from ..evaluation.shareable import Shareable
from ..files import is_file, write_text
from ..paths import home_expanded, output_path
from ..training.run import Run
from .comparison import compare
from .environment import environment
from .own_page import require_own_page
from .repeating import Repeating
from .run_report import RunReport
from .same_images import require_same_images
from .seeds import over_seeds

__all__ = ["report"]

#: What stands above the title of every page (`frame.html.j2`).
_MARK = '<p class="kicker">outskirts report</p>'


def report(
    runs: Run | Path | str | Sequence[Run | Path | str],
    out: Path | str | None = None,
    *,
    full_environment: bool = False,
) -> Path:
    """Write one self-contained HTML page about a run, or about several.

    Arguments:
        runs: An evaluated run, or its folder, or several of them; then the others are compared with the first.
        out: The page, or a folder that shall hold it as ``report.html``. Unless given, this is the folder of a run that
            stands alone, and the working folder for a list of runs.
        full_environment: Whether the page keeps absolute paths and the names of the user and of the machine, as the
            files of the runs hold them. Otherwise each path is shown by its last part.

    Returns:
        The path of the page.

    Raises:
        OutskirtsError: If there is no run, a file of a run is damaged, or two runs were measured on different images
            under one name; or if a file is there that is no such page.
    """
    if isinstance(runs, Run | Path | str):
        out, runs = out or Run.open(runs).path, [runs]
    folders = [run.path if isinstance(run, Run) else home_expanded(run) for run in runs]
    if not folders:
        raise OutskirtsError("There is nothing to report on: give at least one run folder.")
    path = _page(output_path(out or "report.html"))
    read = [RunReport.read(folder, name) for folder, name in zip(folders, _names(folders))]
    require_same_images(read)
    hidden = Shareable(*([run.config, run.environment] for run in read))
    repeating = [Repeating.of(run, hidden, full_environment) for run in read]
    content = {"runs": read, "repeated": over_seeds(read), "differences": compare(read)}
    if not full_environment:
        content = hidden.value(content)
    content["repeating"] = repeating
    write_text(path, environment().get_template("page.html.j2").render(content))
    return path


def _page(out: Path) -> Path:
    """The page that is to be written, in a folder unless its name says that it is one."""
    if out.suffix != ".html":
        if is_file(out):
            raise OutskirtsError(f"{out} is a file; choose a folder, or a page whose name ends in .html.")
        out = out / "report.html"
    require_own_page(out, _MARK)
    return out


def _names(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell the runs apart."""
    paths = [folder.resolve().parts[1:] for folder in folders]
    if len(set(paths)) < len(paths):
        raise OutskirtsError("A run folder is given twice; each run is reported once.")
    depth = 1
    while len({path[-depth:] for path in paths}) < len(paths):
        depth += 1
    return ["/".join(path[-depth:]) for path in paths]
