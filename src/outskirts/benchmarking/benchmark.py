"""Methods and seeds on one benchmark, and one table of all."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..contents import written_value
from ..data.benchmark import Benchmark, load_benchmark, own_file
from ..errors import OutskirtsError, unknown
from ..evaluation.shareable import Shareable
from ..files import file_digest, make_folder, write_text
from ..locking import only_writer
from ..paths import home_expanded, output_path
from ..reporting.own_page import require_own_page
from .beforehand import require_measurable
from .executors import EXECUTORS, run_all
from .jobs import Job, plan
from .matrix import Matrix, require_kept
from .page import MADE, made_by, page
from .render import render
from .run_job import Record, forget_images, record

__all__ = ["benchmark", "benchmark_page"]


def benchmark(
    benchmark: str | Path | Benchmark,
    methods: str | Sequence[str] = ("ce",),
    *,
    variants: str | Sequence[str] = (),
    seeds: Iterable[int] = range(3),
    detectors: str | Sequence[str] = ("all",),
    out: Path | str | None = None,
    executor: str = "local",
    options: Mapping[str, Any] | None = None,
    command: str | None = None,
    begun: Callable[[Matrix, Path], None] = lambda matrix, out: None,
    told: Callable[[Job, Record], None] = lambda job, record: None,
) -> Matrix:
    """Train methods on a benchmark with several seeds, measure all runs, and write one table.

    Stopped, it goes on where it was when it is called again; runs that failed are tried again. Writes a run folder for
    each method, variant and seed, and ``results.md``, ``.csv``, ``.tex`` and ``.html``; and ``benchmark.yaml`` for a
    benchmark made in Python.

    Arguments:
        benchmark: A benchmark, its name, or its YAML file.
        methods: Names of methods; the first is the baseline that the others are compared with.
        variants: Names of the benchmark's variants, with which every method is trained as well as without.
        seeds: Seeds of the trainings.
        detectors: Names of detectors, with parameters as in ``knn:k=10``; or ``all``.
        out: The folder of all runs; ``runs/NAME`` unless given.
        executor: ``local``, or ``ray`` for the cluster that ``RAY_ADDRESS`` names.
        options: Options of every training, over those of the benchmark.
        command: What the page says made the runs; the equal command line unless given.
        begun: Told the matrix and its folder before the first run.
        told: Told of each run as it ends, and what became of it: how long it took, and why it failed, if it did.

    Returns:
        The matrix: its ``jobs``, its ``leaderboard``, a row for each method, and its ``failures``.

    Raises:
        OutskirtsError: If a name or an option is unknown, or no run succeeded; if the folder holds results that would
            vanish, or another process writes to it.
    """
    # A text would else be read letter by letter.
    methods, variants, detectors = (
        [one] if isinstance(one, str) else list(one) for one in (methods, variants, detectors)
    )
    seeds = list(seeds)
    chosen = load_benchmark(benchmark)
    place = out or f"runs/{chosen.name}"
    folder = output_path(place).absolute()
    if executor not in EXECUTORS:
        raise unknown("executor", executor, EXECUTORS)
    jobs = plan(chosen, methods, seeds, folder, variants=variants, detectors=detectors, options=options)
    with only_writer(folder):
        require_kept(folder, chosen.name, jobs)
        forget_images()
        require_measurable(jobs)
        file = _file(benchmark, folder)
        named = str(file or benchmark)
        asked: dict[str, Sequence[Any]] = {"methods": methods, "with": variants, "seeds": seeds}
        command = command or _command(named, asked, detectors, out, executor, options or {})
        sha256 = file_digest(file) if file else ""
        matrix = Matrix(chosen.name, chosen.description, chosen.notes, command, jobs, named, sha256, os.getcwd())
        matrix.save(folder)
        begun(matrix, folder)
        run_all(jobs, executor, lambda job, failure: told(job, record(job)))
        _write_tables(matrix, folder, shlex.join(["outskirts", "benchmark", "page", str(place)]))
    return matrix


def _write_tables(matrix: Matrix, folder: Path, command: str) -> None:
    """Write the table of a matrix in all formats; the command makes the page again."""
    lines = matrix.leaderboard
    if not lines:
        raise OutskirtsError(
            f"No run of the benchmark succeeded. The record of each run says why, such as {matrix.jobs[0].record}."
        )
    hidden = Shareable([job.to_json() for job in matrix.jobs])
    notes = list(map(hidden.text, matrix.run_notes))
    told_of = (hidden.text(matrix.title), made_by(matrix), hidden.text(matrix.description))
    for kind, ending in {"csv": "csv", "latex": "tex", "html": "html"}.items():
        write_text(folder / f"results.{ending}", render(lines, kind, *told_of, notes=notes))
    write_text(folder / "results.md", page([matrix], command))


def _file(benchmark: str | Path | Benchmark, folder: Path) -> Path | None:
    """The file of a benchmark, which is written where it was made in Python; None if it ships with outskirts."""
    if not isinstance(benchmark, Benchmark):
        return own_file(benchmark)
    make_folder(folder)
    benchmark.save(folder / "benchmark.yaml")
    return folder / "benchmark.yaml"


def _command(
    benchmark: str,
    lists: Mapping[str, Sequence[Any]],
    detectors: Sequence[str],
    out: Path | str | None,
    executor: str,
    options: Mapping[str, Any],
) -> str:
    """The command line that does the same as a call."""
    words = ["outskirts", "benchmark", benchmark]
    for name, values in lists.items():
        words += [f"--{name}", ",".join(map(str, values))] if values else []
    words += ["--detectors", *detectors]
    words += [] if out is None else ["--out", str(out)]
    words += [] if executor == "local" else ["--executor", executor]
    words += ["--set", *(f"{name}={written_value(value)}" for name, value in options.items())] if options else []
    return shlex.join(words)


def benchmark_page(
    folders: Path | str | Sequence[Path | str], out: Path | str = "results.md", command: str | None = None
) -> Path:
    """Put the results of a benchmark, or of several, on one page, in Markdown.

    Arguments:
        folders: A folder that `benchmark` wrote, or several.
        out: The page.
        command: What the page says made it; the equal command line unless given.

    Returns:
        The path of the page.

    Raises:
        OutskirtsError: If there is no folder, one is not of a benchmark, or no run of one is finished; or if a file is
            there that is no such page.
    """
    folders = [folders] if isinstance(folders, Path | str) else folders
    if not folders:
        raise OutskirtsError("Name the folders of the runs: outskirts benchmark page runs/NAME --out results.md.")
    file = output_path(out)
    require_own_page(file, MADE)
    command = command or shlex.join(["outskirts", "benchmark", "page", *map(str, folders), "--out", str(out)])
    write_text(file, page([Matrix.load(home_expanded(folder)) for folder in folders], command))
    return file
