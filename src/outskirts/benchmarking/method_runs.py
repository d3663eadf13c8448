"""The runs of one method of a matrix, and the detector that speaks for it.

It is the one that is best on validation images and outliers, averaged over the runs; test sets take no part in the
choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

from ..evaluation.results import MEAN, Result
from ..reporting.run_report import RunReport
from ..reporting.same_images import require_same_images
from .jobs import Job
from .run_job import finished, record

__all__ = ["MethodRuns", "all_method_runs", "notes_of_runs"]


@dataclass(frozen=True)
class MethodRuns:
    """A method, with its variant.

    Arguments:
        label: What tables call it.
        runs: Report of each run, by its seed.
        minutes: Minutes that a run takes, on average.
    """

    label: str
    runs: Mapping[int, RunReport]
    minutes: float

    @cached_property
    def detector(self) -> str:
        """The detector with the largest AUROC on validation images, averaged over runs, of those that all have."""
        best = [_tuned(run) for run in self.runs.values()]
        there = [{row.detector for row in run.results.rows} for run in self.runs.values()]
        able = [name for name in best[0] if all(name in own for own in (*best, *there))]
        if not able:
            return next(iter(self.runs.values())).headline.partition("(")[0]
        return max(able, key=lambda name: fmean(own[name].auroc for own in best))

    @property
    def detectors(self) -> list[str]:
        """Those that all runs have."""
        there = [dict.fromkeys(row.detector for row in run.results.rows) for run in self.runs.values()]
        return [name for name in there[0] if all(name in own for own in there)]

    def label_of(self, seed: int, detector: str) -> str:
        """What the results of a run call a detector, with the parameters that were chosen if there are several."""
        run = self.runs[seed]
        labels = {params: label for (name, params), label in run.detectors.items() if name == detector}
        best = _tuned(run).get(detector)
        return labels.get(best.params if best else "", next(iter(labels.values())))

    def results(self, detector: str) -> dict[str, dict[str, list[Result]]]:
        """A detector's rows by group and set, those of all seeds together; `MEAN` where a group has several sets."""
        by_group: dict[str, dict[str, list[Result]]] = {}
        for seed, run in self.runs.items():
            for table in run.tables:
                row = table.lines[self.label_of(seed, detector)]
                for dataset in table.datasets:
                    by_group.setdefault(table.group, {}).setdefault(dataset, []).append(row[dataset])
        return by_group

    def means(self, detector: str) -> dict[str, list[Result]]:
        """A detector's rows of each group's average, or only set."""
        return {group: sets.get(MEAN) or next(iter(sets.values())) for group, sets in self.results(detector).items()}


def all_method_runs(jobs: Sequence[Job]) -> list[MethodRuns]:
    """Each method and variant of which a run is there, in the order of the plan."""
    there: dict[str, list[Job]] = {}
    for job in filter(finished, jobs):
        there.setdefault(job.label, []).append(job)
    methods = [
        MethodRuns(
            label,
            {job.seed: RunReport.read(job.folder, job.folder.name) for job in own},
            fmean(record(job).seconds for job in own) / 60,
        )
        for label, own in there.items()
    ]
    require_same_images([run for method in methods for run in method.runs.values()])
    return methods


def notes_of_runs(methods: Sequence[MethodRuns]) -> list[str]:
    """What a reader should know of runs, each sentence once; where it does not hold for all, with their names."""
    runs = [run for method in methods for run in method.runs.values()]
    told: dict[str, list[str]] = {}
    for run in runs:
        for note in run.notes:
            told.setdefault(note, []).append(run.name)
    return [note if len(names) == len(runs) else f"{note} ({', '.join(names)})" for note, names in told.items()]


def _tuned(run: RunReport) -> dict[str, Result]:
    """The row of the parameters that were chosen, by the name of the detector."""
    best: dict[str, Result] = {}
    for row in run.results.tuning:
        if row.detector not in best or row.auroc > best[row.detector].auroc:
            best[row.detector] = row
    return best
