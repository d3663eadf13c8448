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

from ..benchmarking.executors import run_all
from ..benchmarking.jobs import Job, plan, seeds
from ..benchmarking.leaderboard import LeaderboardRow
from ..benchmarking.matrix import Matrix
from ..benchmarking.page import page
from ..benchmarking.render import render, tables
from ..benchmarking.run_job import record
from ..data.benchmark import benchmarks, described, load_benchmark
from ..data.catalogue import Entry, known
from ..data.sources.spec import data_folder
from ..errors import OutskirtsError
from ..files import write_text
from .console import merged, options, say, show

__all__ = ["main"]


@dataclass(frozen=True)
class Benchmark:
    """Train methods on a benchmark, with several seeds, and put all in one table.

    Stopped, it goes on where it was when it is called again; runs that failed are tried again. Beside it: outskirts
    benchmark list, benchmark show NAME, benchmark page DIR….
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


@dataclass(frozen=True)
class Page:
    """Put the results of benchmarks on one page, in Markdown, from the folders of their runs."""

    folders: tyro.conf.Positional[tuple[Path, ...]]
    """As --out of outskirts benchmark."""
    out: str = "results.md"
    """The page."""


@dataclass(frozen=True)
class Show:
    """What a benchmark consists of, where its images come from, and under what terms."""

    benchmark: tyro.conf.Positional[str]
    """Its name, or its YAML file."""


def main(arguments: Sequence[str]) -> None:
    """Make all runs, print the table, write it; or one of the commands in `_BESIDE`."""
    if arguments and arguments[0] in _BESIDE:
        _BESIDE[arguments[0]](arguments[1:])
        return
    given = options(Benchmark, "benchmark", merged(arguments, "--detectors", "--set"))
    benchmark = load_benchmark(given.benchmark)
    out = Path(given.out or f"runs/{benchmark.name}").absolute()
    jobs = plan(
        benchmark,
        _names(given.methods),
        seeds(given.seeds),
        out,
        variants=_names(given.variants),
        detectors=given.detectors,
        options=dict(_option(text) for text in given.options),
    )
    matrix = Matrix(benchmark.name, benchmark.description, benchmark.notes, _command(*arguments), jobs)
    matrix.save(out)
    say(f"{len(jobs)} runs in {out}")
    run_all(jobs, given.engine, _told)
    lines = matrix.leaderboard
    if not lines:
        raise OutskirtsError(f"No run of the matrix succeeded; why not is in {jobs[0].record} and its like.")
    for kind, ending in {"csv": "csv", "latex": "tex", "html": "html"}.items():
        write_text(out / f"results.{ending}", render(lines, kind, matrix.title, matrix.command, matrix.description))
    write_text(out / "results.md", page([matrix], _command("page", str(out))))
    show(_shown(lines))
    for job in jobs:
        if failure := record(job).failure:
            say(f"Failed: {job.folder.name}: {failure}")
    say(f"Tables: {out / 'results.md'}, .csv, .tex, .html")


def _list(arguments: Sequence[str]) -> None:
    for name in benchmarks():
        say(f"{name}: {described(name)['description']}")
    say("All of one: outskirts benchmark show NAME; its images: outskirts data fetch NAME")


def _page(arguments: Sequence[str]) -> None:
    given = options(Page, "benchmark page", arguments)
    if not given.folders:
        raise OutskirtsError("Name the folders of the runs: outskirts benchmark page runs/NAME --out results.md.")
    text = page([Matrix.load(folder) for folder in given.folders], _command("page", *arguments))
    write_text(Path(given.out), text)
    say(f"Page: {given.out}")


def _show(arguments: Sequence[str]) -> None:
    about = described(options(Show, "benchmark show", arguments).benchmark)
    for key, value in about.items():
        if isinstance(value, str) and key != "classes":
            say(f"{key}: {' '.join(value.split())}")
    for group, sets in about["ood"].items():
        for name, spec in sets.items():
            say(f"{group}: {name}: {spec}")
    for name in about["needs"]:
        entry = known(name)
        there = "there" if entry.place(data_folder()).is_dir() else "not there yet"
        say(f"needs: {name}, {there}: {entry.description}. {_sources(entry)} Terms: {entry.licence}.")


_BESIDE = {"list": _list, "page": _page, "show": _show}


def _sources(entry: Entry) -> str:
    """Where the files of a set are, and with what hash."""
    places = (
        " or ".join(file.urls) + (f" ({hashed})" if (hashed := file.sha256 or file.md5) else "") for file in entry.files
    )
    return "; ".join(places) or entry.form


def _command(*arguments: str) -> str:
    return shlex.join(["outskirts", "benchmark", *arguments])


def _told(job: Job, failure: str) -> None:
    say(f"{job.folder.name}: {f'failed ({failure})' if failure else f'{record(job).seconds / 60:.1f} minutes'}")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _option(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals:
        raise OutskirtsError(f"An option is set as NAME=VALUE, not '{text}'.")
    return name.replace("-", "_"), yaml.safe_load(value)


def _shown(lines: Sequence[LeaderboardRow]) -> Table:
    """What fits on a terminal of the first table: below the method its detector, below each AUROC the difference."""
    header, rows = tables(lines)[0]
    groups = [name.removesuffix(": AUROC") for name in header if name.endswith(": AUROC")]
    shown = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for name in ("method", "accuracy", *groups):
        shown.add_column(name, no_wrap=True)
    for row in rows:
        of = dict(zip(header, row))
        jobs = (f"{of[f'{name}: AUROC']}\n{of[f'{name}: Δ']}" for name in groups)
        shown.add_row(f"{of['method']}\n  {of['detector']}", of["accuracy"], *jobs)
    return shown
