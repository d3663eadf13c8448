"""``outskirts benchmark``: methods and seeds on one benchmark, and one table of all."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import tyro
from rich.box import SIMPLE_HEAD
from rich.table import Table

from ..benchmarking.benchmark import benchmark, benchmark_page
from ..benchmarking.jobs import Job, seeds
from ..benchmarking.leaderboard import LeaderboardRow
from ..benchmarking.matrix import Matrix
from ..benchmarking.render import tables
from ..benchmarking.run_job import Record
from ..contents import plain_value
from ..data.benchmark import benchmarks, describe_benchmark
from ..data.catalogue import Entry
from ..data.fetch import catalogue
from ..errors import OutskirtsError, unknown
from ..texts import CommaSeparated, comma_separated, counted
from .console import Command, choose, merged, parse, say, show
from .several import Detectors, Settings

__all__ = ["COMMAND", "Benchmark", "main"]


@dataclass(frozen=True)
class Benchmark(Command):
    """Train methods on a benchmark with several seeds, and put all results in one table.

    A command that was stopped goes on when it is called again; runs that failed are tried again. Other commands:
    outskirts benchmark list, benchmark show NAME, benchmark page DIR…
    """

    examples: ClassVar[tuple[str, ...]] = (
        "outskirts benchmark my-benchmark.yaml --methods ce,ascood --seeds 0-1 --set epochs=1",
    )

    benchmark: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME")]
    """Name of a benchmark (see outskirts benchmark list), or its YAML file."""
    methods: CommaSeparated = "ce"
    """Names of methods, separated by commas. The others are compared with the first."""
    variants: Annotated[CommaSeparated | None, tyro.conf.arg(name="with")] = None
    """Variants of the benchmark, separated by commas, with which every method is trained as well; such as sio."""
    seeds: CommaSeparated = "0-2"
    """Seeds of the trainings, such as 0-2 or 0,7."""
    detectors: Detectors = ("all",)
    """Names of detectors, with parameters as in knn:k=10; or all."""
    out: Path | None = None
    """Folder of all runs and of the table. Default: runs/NAME."""
    executor: str = "local"
    """Where runs are made: local, or ray for the cluster that RAY_ADDRESS names (or one on this machine)."""
    options: Settings = ()
    """Options of every training, such as epochs=2. They override those of the benchmark."""

    def __call__(self, line: str | None = None) -> None:
        def begun(matrix: Matrix, out: Path) -> None:
            say(f"{counted(len(matrix.jobs), 'run')} in {out}")

        matrix = benchmark(
            self.benchmark,
            comma_separated(self.methods),
            variants=comma_separated(self.variants),
            seeds=seeds(self.seeds),
            detectors=self.detectors,
            out=self.out,
            executor=self.executor,
            options=dict(_option(text) for text in self.options),
            command=line,
            begun=begun,
            told=_told,
        )
        show(_shown(matrix.leaderboard))
        for name, failure in matrix.failures.items():
            show(f"Failed: {name}: {failure}")
        say(f"Tables: {matrix.jobs[0].folder.parent / 'results.md'}, .csv, .tex, .html")


@dataclass(frozen=True)
class List(Command):
    """List the benchmarks that come with outskirts."""

    examples: ClassVar[tuple[str, ...]] = ("outskirts benchmark list",)

    def __call__(self) -> None:
        for name in benchmarks():
            show(f"{name}: {describe_benchmark(name)['description']}")
        say("Show one with: outskirts benchmark show NAME. Fetch its images with: outskirts data fetch NAME.")


@dataclass(frozen=True)
class Page(Command):
    """Put the results of several benchmarks on one page, in Markdown."""

    examples: ClassVar[tuple[str, ...]] = ("outskirts benchmark page runs/my-benchmark --out results.md",)

    folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR")]
    """Folder of the runs of a benchmark, as outskirts benchmark made it."""
    others: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="[DIR ...]")] = ()
    """Such folders of other benchmarks."""
    out: Path = Path("results.md")
    """The Markdown file to write."""

    def __call__(self, line: str | None = None) -> None:
        say(f"Page: {benchmark_page((self.folder, *self.others), self.out, line)}")


@dataclass(frozen=True)
class Show(Command):
    """Show the image sets of a benchmark, with the source and the terms of use of each."""

    examples: ClassVar[tuple[str, ...]] = ("outskirts benchmark show cifar10",)

    benchmark: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME")]
    """Name of the benchmark, or its YAML file."""

    def __call__(self) -> None:
        about = describe_benchmark(self.benchmark)
        for key, value in about.items():
            if isinstance(value, str) and key != "classes":
                show(f"{key}: {' '.join(value.split())}")
        for group, sets in about["ood"].items():
            for name, spec in sets.items():
                show(f"{group}: {name}: {spec}")
        for name in about["needs"]:
            entry = catalogue()[name]
            there = "there" if name in about["fetched"] else "not fetched yet"
            show(f"needs: {name}, {there}: {entry.description}. {_sources(entry)} Terms: {entry.licence}.")


COMMAND: dict[str, type[Command]] = {"list": List, "page": Page, "show": Show}


def main(arguments: Sequence[str]) -> None:
    """Make all runs and print the table, or run one of the commands above."""
    # What pages say that they were made by.
    line = shlex.join(["outskirts", "benchmark", *arguments])
    if arguments and arguments[0] in COMMAND:
        given = choose("benchmark", COMMAND, arguments)
    else:
        if arguments and re.fullmatch(r"\w[\w-]*", arguments[0]) and arguments[0] not in benchmarks():
            raise unknown("benchmark or command", arguments[0], [*benchmarks(), *COMMAND])
        given = parse(Benchmark, "benchmark", merged(arguments, "--detectors", "--set"))
    given(line) if isinstance(given, Benchmark | Page) else given()


def _sources(entry: Entry) -> str:
    """Where the files of a set are, and with what hash."""
    places = (
        " or ".join(file.urls) + (f" ({hashed})" if (hashed := file.sha256 or file.md5) else "") for file in entry.files
    )
    return "; ".join(places) or entry.form or "no address"


def _told(job: Job, record: Record) -> None:
    ended = f"failed ({record.failure})" if record.failure else f"{record.seconds / 60:.1f} minutes"
    say(f"{job.folder.name}: {ended}")


def _option(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals:
        raise OutskirtsError(f"An option is set as NAME=VALUE, not '{text}'.")
    return name.replace("-", "_"), plain_value(value)


def _shown(lines: Sequence[LeaderboardRow]) -> Table:
    """What fits on a terminal of the first table: below the method its detector, below each AUROC the difference."""
    header, rows = tables(lines)[0]
    groups = [name.removesuffix(": AUROC") for name in header if name.endswith(": AUROC")]
    shown = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for name in ("method", "accuracy", *groups):
        shown.add_column(name, no_wrap=True)
    for row in rows:
        of = dict(zip(header, row))
        cells = (f"{of[f'{name}: AUROC']}\n{of[f'{name}: Δ']}" for name in groups)
        shown.add_row(f"{of['method']}\n  {of['detector']}", of["accuracy"], *cells)
    return shown
