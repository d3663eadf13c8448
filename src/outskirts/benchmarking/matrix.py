"""A matrix: what was asked, which is kept beside the runs, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..contents import misfit
from ..detectors import registry
from ..errors import OutskirtsError
from ..evaluation.evaluate import asked_for
from ..files import is_file, load_json, make_folder, save_json
from ..temporary import require_new
from ..texts import listed
from .jobs import Job
from .leaderboard import LeaderboardRow, leaderboard
from .method_runs import MethodRuns, all_method_runs, notes_of_runs
from .run_job import finished, record

__all__ = ["Matrix", "require_kept"]

_FILE = "matrix.json"
#: What a benchmark writes beside it.
_TABLES = tuple(f"results.{ending}" for ending in ("md", "csv", "tex", "html"))
#: What pages print of it. Version 0.1 has not kept the last three.
_KINDS = {
    **dict.fromkeys(("title", "description", "notes", "command"), str),
    **dict.fromkeys(("benchmark", "sha256", "folder"), (str, None)),
}
#: What `Job.to_json` returns.
_JOB_KINDS = {
    **dict.fromkeys(("method", "variant", "tune_on", "folder"), str),
    "seed": int,
    "options": {str: Any},
    "sets": {str: str},
    "ood": {str: {str: str}},
    "detectors": [str],
}


@dataclass(frozen=True)
class Matrix:
    """The runs of a benchmark.

    Arguments:
        title: The benchmark's name.
        description: What it is.
        notes: What a reader of its results should know.
        command: Command that makes the runs.
        jobs: The runs.
        benchmark: The benchmark's shipped name, or the absolute path of its file.
        sha256: Hash of the file, if there is one.
        folder: The folder in which the command was given; empty where version 0.1 has not kept it.
    """

    title: str
    description: str
    notes: str
    command: str
    jobs: Sequence[Job]
    benchmark: str = ""
    sha256: str = ""
    folder: str = ""

    @cached_property
    def all_method_runs(self) -> list[MethodRuns]:
        """The methods of which a run is there, as the run folders say when this is first asked."""
        return all_method_runs(self.jobs)

    @cached_property
    def leaderboard(self) -> list[LeaderboardRow]:
        """The rows of these methods, compared with the first of the plan."""
        return leaderboard(self.all_method_runs, self.jobs[0].label if self.jobs else "")

    @property
    def run_notes(self) -> list[str]:
        """What a reader should know of the runs that are there, in sentences."""
        return notes_of_runs(self.all_method_runs)

    @property
    def failures(self) -> dict[str, str]:
        """Why runs failed, by the names of their folders, as their records say now."""
        failed = {job.folder.name: record(job).failure for job in self.jobs}
        return {name: failure for name, failure in failed.items() if failure}

    def save(self, folder: Path) -> None:
        """Write ``matrix.json``."""
        make_folder(folder)
        save_json(folder / _FILE, {**asdict(self), "jobs": [job.to_json() for job in self.jobs]})

    @classmethod
    def load(cls, folder: Path) -> Matrix:
        """Read what `save` wrote, wherever the folder is now."""
        if not is_file(folder / _FILE):
            raise OutskirtsError(f"{folder} is not the folder of a benchmark's runs: it has no {_FILE}.")
        about: dict[str, Any] = load_json(folder / _FILE)
        clause = misfit(about, _KINDS)
        try:
            told = [] if clause else about.pop("jobs" if "jobs" in about else "cells")
            if not (clause := clause or misfit(told, [_JOB_KINDS], "the list of runs")):
                jobs = [Job.from_json(job, folder) for job in told]
                return cls(jobs=jobs, **{name: value for name, value in about.items() if value is not None})
        except (AttributeError, KeyError, TypeError) as error:
            clause = str(error)
        raise OutskirtsError(f"{folder / _FILE} is damaged, or was written by another version ({clause}).")


def require_kept(folder: Path, title: str, jobs: Sequence[Job]) -> None:
    """Raise if tables would be written in the place of files of others, or lose results that they have now.

    Arguments:
        folder: The folder of all runs.
        title: The name of the benchmark that is asked for.
        jobs: Runs of that benchmark, planned.
    """
    if not is_file(folder / _FILE):
        for name in _TABLES:
            require_new(folder / name)
        return
    before = Matrix.load(folder)
    done = list(filter(finished, before.jobs))
    if done and before.title != title:
        raise OutskirtsError(f"{folder} holds the results of the benchmark '{before.title}'; choose another --out.")
    known = {part for job in jobs for part in _parts(job)}
    if lost := dict.fromkeys(part for job in done for part in _parts(job) if part not in known):
        raise OutskirtsError(
            f"The tables in {folder} would lose what they have of {listed(list(lost), 5)}. Ask for that as well, or "
            "choose another --out."
        )


def _parts(job: Job) -> list[str]:
    """What tables have of a run: itself, and each set and detector that it is measured with."""
    sets = [f"the set {group}/{name}" for group, members in job.ood.items() for name in members]
    detectors = registry.names() if asked_for(job.detectors) == "all" else job.detectors
    return [f"the run {job.folder.name}", *sets, *(f"the detector {name}" for name in detectors)]
