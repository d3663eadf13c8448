"""``outskirts benchmark``: methods and seeds on one benchmark, and one table of all."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
import yaml
from rich.box import SIMPLE_HEAD
from rich.table import Table

from ..benchmarking.cell import record
from ..benchmarking.engines import run_all
from ..benchmarking.plan import Cell, plan, seeds
from ..benchmarking.render import FORMATS, render, table
from ..benchmarking.standings import Standing, standings
from ..data.benchmark import benchmarks, load_benchmark
from ..errors import OutskirtsError
from ..files import write_text
from .console import merged, options, say, show

__all__ = ["main"]

_ENDINGS = {"markdown": "md", "csv": "csv", "latex": "tex", "html": "html"}


@dataclass(frozen=True)
class Benchmark:
    """Train methods on a benchmark, with several seeds, and put all in one table.

    Stopped, it goes on where it was when it is called again; runs that failed are tried again.
    """

    benchmark: tyro.conf.Positional[str]
    """A benchmark's name (outskirts benchmark list), or its YAML file."""
    methods: str = "ce"
    """Methods, comma-separated; the others are compared with the first."""
    variants: Annotated[str, tyro.conf.arg(name="with")] = ""
    """Variants of the benchmark with which every method is trained as well, comma-separated, such as sio."""
    seeds: str = "0-2"
    """Of the trainings, such as 0-2 or 0,7."""
    detectors: tuple[str, ...] = ("all",)
    """Names of detectors, with parameters as in knn:k=10; or all."""
    out: str = ""
    """The folder of all runs and of the table; runs/NAME unless given."""
    engine: str = "local"
    """local, or ray: on the cluster that RAY_ADDRESS names, or on this machine."""
    options: Annotated[tuple[str, ...], tyro.conf.arg(name="set", metavar="NAME=VALUE")] = ()
    """Options of every training, over those of the benchmark, such as epochs=2."""


def main(arguments: Sequence[str]) -> None:
    """Make all runs, print the table, write it."""
    if list(arguments) == ["list"]:
        for name in benchmarks():
            found = load_benchmark(name)
            say(f"{name}: {found.description}")
        return
    given = options(Benchmark, "benchmark", merged(arguments, "--detectors", "--set"))
    benchmark = load_benchmark(given.benchmark)
    out = Path(given.out or f"runs/{benchmark.name}").absolute()
    cells = plan(
        benchmark,
        _names(given.methods),
        seeds(given.seeds),
        out,
        variants=_names(given.variants),
        detectors=given.detectors,
        options=dict(_option(text) for text in given.options),
    )
    say(f"{len(cells)} runs in {out}")
    run_all(cells, given.engine, _told)
    lines = standings(cells)
    if not lines:
        raise OutskirtsError(f"No run of the matrix succeeded; why not is in {cells[0].record} and its like.")
    _write(lines, out, benchmark.name, shlex.join(["outskirts", "benchmark", *arguments]))
    show(_shown(lines))
    failed = [cell for cell in cells if record(cell).failure]
    for cell in failed:
        say(f"Failed: {cell.folder.name}: {record(cell).failure}")
    say(f"Tables: {out / 'results.md'}, .csv, .tex, .html")


def _told(cell: Cell, failure: str) -> None:
    say(f"{cell.folder.name}: {f'failed ({failure})' if failure else f'{record(cell).seconds / 60:.1f} minutes'}")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _option(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals:
        raise OutskirtsError(f"An option is set as NAME=VALUE, not '{text}'.")
    return name.replace("-", "_"), yaml.safe_load(value)


def _write(lines: Sequence[Standing], out: Path, title: str, command: str) -> None:
    for kind in FORMATS:
        write_text(out / f"results.{_ENDINGS[kind]}", render(lines, kind, title, command))


def _shown(lines: Sequence[Standing]) -> Table:
    """What fits on a terminal of the table: below the method its detector, below each AUROC the difference."""
    header, rows = table(lines)
    groups = [name.removesuffix(": AUROC") for name in header if name.endswith(": AUROC")]
    shown = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for name in ("method", "accuracy", *groups):
        shown.add_column(name, no_wrap=True)
    for row in rows:
        of = dict(zip(header, row))
        cells = (f"{of[f'{name}: AUROC']}\n{of[f'{name}: Δ']}" for name in groups)
        shown.add_row(f"{of['method']}\n  {of['detector']}", of["accuracy"], *cells)
    return shown
