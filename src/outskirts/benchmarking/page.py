"""Results of matrices as one page for people: tables, and the command behind each of their numbers."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from ..errors import OutskirtsError
from ..evaluation.pasteable import Pasteable
from ..evaluation.results import MEAN, Result
from ..evaluation.set_groups import is_ood
from ..evaluation.shareable import Shareable
from ..evaluation.subgroups import GroupAccuracy
from ..reporting.run_report import RunReport
from ..reporting.seeds import Spread
from ..texts import counted
from .escaping import code_block, markdown
from .jobs import Job
from .matrix import Matrix
from .method_runs import MethodRuns
from .render import markdown_table, render, spread

__all__ = ["MADE", "made_by", "page", "section"]

T = TypeVar("T")

#: What each page says, by which it is known.
MADE = "This command made the page from the run folders:"


def page(matrices: Sequence[Matrix], command: str) -> str:
    """All matrices on one page, in Markdown.

    Arguments:
        matrices: With at least one finished run each.
        command: Command that made the page.
    """
    shareable = Shareable([[job.to_json() for job in matrix.jobs] for matrix in matrices])
    written = Pasteable(os.getcwd(), command, shareable)
    parts = [
        "# Results",
        f"{MADE}\n\n{code_block(written.script([written.text(command)]))}",
        *map(section, matrices),
    ]
    return shareable.text("\n\n".join(part.strip() for part in parts)) + "\n"


def section(matrix: Matrix) -> str:
    """One matrix: the leaderboard, each set, each group of test images, each detector, and each run's commands."""
    there = matrix.all_method_runs
    if not there:
        raise OutskirtsError(f"No run of '{matrix.title}' is finished. Finish one with: {matrix.command}")
    parts = [
        render(matrix.leaderboard, "markdown", matrix.title, made_by(matrix), matrix.description, matrix.run_notes),
        markdown(matrix.notes),
        "### Each set\n\nAUROC and FPR95 of the chosen detector. FPR95 is given twice: ID as the positive "
        f"class \\| OOD as the positive class.\n\n{_sets(there)}",
        _groups(there),
        "### Each detector\n\nMean AUROC over the seeds. No detector was chosen by these "
        f"numbers.\n\n{_detectors(there)}",
        f"### Each run\n\n{_runs(matrix, there)}",
    ]
    return "\n\n".join(part.strip() for part in parts if part)


def _sets(there: Sequence[MethodRuns]) -> str:
    results = {method.label: method.results(method.detector) for method in there}
    names = dict.fromkeys(
        (group, dataset) for of in results.values() for group, sets in of.items() for dataset in sets if dataset != MEAN
    )

    def job(rows: list[Result] | None) -> str:
        if not rows:
            return ""
        rates = (Spread.of(getattr(row, name) for row in rows).mean for name in ("fpr95", "fpr95_ood_positive"))
        return f"{spread(Spread.of(row.auroc for row in rows))}; {' | '.join(f'{100 * rate:.1f}' for rate in rates)}"

    lines = []
    for group, dataset in names:
        rows = [results[method.label].get(group, {}).get(dataset) for method in there]
        size = next(row[0].n_ood for row in rows if row)
        lines.append([group, dataset, f"{size:,}", *map(job, rows)])
    return markdown_table(
        ["group", "set", "images", *(f"{method.label}: {method.detector}" for method in there)], lines
    )


def _groups(there: Sequence[MethodRuns]) -> str:
    """Accuracy by class and attribute, where one is known."""

    def by_name(groups: list[GroupAccuracy] | None) -> dict[tuple[str, str], GroupAccuracy]:
        return {(group.label, group.value): group for group in groups or []}

    runs = {method.label: [by_name(run.groups) for run in method.runs.values()] for method in there}
    names = dict.fromkeys(name for own in runs.values() for run in own for name in run)
    lines = []
    for name in names:
        size = next(run[name].n for own in runs.values() for run in own if name in run)
        accuracies = [[run[name].accuracy for run in own if name in run] for own in runs.values()]
        lines.append([*name, f"{size:,}", *(spread(Spread.of(values)) if values else "" for values in accuracies)])
    table = markdown_table(["class", "with", "images", *runs], lines)
    return f"### Accuracy by group\n\n{table}" if lines else ""


def _detectors(there: Sequence[MethodRuns]) -> str:
    means = {method.label: {name: method.means(name) for name in method.detectors} for method in there}
    columns = [
        (label, group)
        for label, of in means.items()
        for group in (next(iter(of.values())) if of else ())
        if is_ood(group)
    ]
    names = sorted({name for of in means.values() for name in of})

    def job(name: str, label: str, group: str) -> str:
        rows = means[label].get(name, {}).get(group)
        return f"{100 * Spread.of(row.auroc for row in rows).mean:.1f}" if rows else ""

    lines = [[name, *(job(name, *column) for column in columns)] for name in names]
    return markdown_table(["detector", *(f"{label}: {group}" for label, group in columns)], lines)


def made_by(matrix: Matrix) -> str:
    """The command that makes the runs once more, with what was left to the machine, and what to set before."""
    written = _pasteable(matrix)
    runs = [run for method in matrix.all_method_runs for run in method.runs.values()]
    command = matrix.command
    if left := [
        name for name in ("precision", "device") if any(job.options.get(name) == "auto" for job in matrix.jobs)
    ]:
        chosen = {name: one for name in left if (one := _common([getattr(run.recipe.training, name) for run in runs]))}
        command += " --set " + " ".join(f"{name}={one}" for name, one in chosen.items()) if chosen else ""
    lines = [*_hash(matrix, written), written.text(command)]
    return written.script(lines, _common([run.threads for run in runs]))


def _runs(matrix: Matrix, there: Sequence[MethodRuns]) -> str:
    """What trains and measures each run by itself; runs that differ by their seed alone have a loop."""
    jobs = {(job.label, job.seed): job for job in matrix.jobs}
    written = _pasteable(matrix)
    seeds: dict[tuple[str, str, str], list[int]] = {}
    for method in there:
        folder = written.line([f"repeated/{matrix.title}/{method.label}-s"])
        for seed, run in method.runs.items():
            *trained, _ = run.recipe.command()
            measured = _measured(matrix, jobs[method.label, seed], run)
            seeds.setdefault((written.line(trained), folder, written.line(measured)), []).append(seed)
    lines = _hash(matrix, written)
    for (train, folder, options), own in seeds.items():
        which = str(own[0]) if len(own) == 1 else "$seed"
        commands = [f"{train} {which} --out {folder}{which}", f"outskirts evaluate {folder}{which} {options}"]
        if len(own) > 1:
            commands = [f"for seed in {' '.join(map(str, own))}; do", *(f"  {one}" for one in commands), "done"]
        lines += commands
    runs = [run for method in there for run in method.runs.values()]
    script = written.script(lines, _common([run.threads for run in runs]))
    return code_block(script) + f"\n\n{markdown(_machine([run.environment or {} for run in runs]))}"


def _measured(matrix: Matrix, job: Job, run: RunReport) -> list[str]:
    """The options of the evaluation, as `run_job` makes it."""
    words = ["--benchmark", matrix.benchmark or matrix.title]
    words += ["--tune-on", job.tune_on] if job.tune_on else ["--tune"]
    training = run.recipe.training
    words += ["--precision", "bf16" if training.precision == "bf16" else "fp32", "--device", training.device]
    words += ["--skip-corrupt"] * training.skip_corrupt
    return [*words, "--detectors", *job.detectors]


def _pasteable(matrix: Matrix) -> Pasteable:
    return Pasteable(matrix.folder, matrix.command, Shareable([job.to_json() for job in matrix.jobs]))


def _hash(matrix: Matrix, written: Pasteable) -> list[str]:
    """A comment that tells the benchmark's file from others of its name, where there is one."""
    return [written.hash_of(matrix.benchmark, matrix.sha256)] if matrix.sha256 else []


def _common(values: Sequence[T | None]) -> T | None:
    """What all of some values are; None if they differ."""
    return values[0] if len(set(values)) == 1 else None


def _machine(environments: Sequence[Mapping[str, Any]]) -> str:
    """Where the runs were made, once if all say the same."""
    shown: Sequence[tuple[str, Callable[[Any], str]]] = (
        ("outskirts", "outskirts {}".format),
        ("commit", "commit {}".format),
        ("torch", "torch {}".format),
        ("processor", "{}".format),
        ("threads", lambda n: f"{counted(n, 'thread')} for each run"),
        ("accelerator", "{}".format),
    )
    texts = dict.fromkeys(
        ", ".join(form(of[name]) for name, form in shown if of.get(name) is not None) for of in environments if of
    )
    return f"Trained with {'; or '.join(texts)}." if texts else ""
