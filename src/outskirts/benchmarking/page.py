"""Results of matrices as one page for people: tables, and the command behind each of their numbers."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..data.sources.spec import brief
from ..errors import OutskirtsError
from ..evaluation.results import MEAN, Result
from ..evaluation.set_groups import is_ood
from ..evaluation.shareable import Shareable
from ..evaluation.subgroups import GroupAccuracy
from ..reporting.seeds import Spread
from ..texts import counted
from ..training.config import resolve_recipe
from .escaping import code_block, markdown
from .jobs import Job
from .matrix import Matrix
from .method_runs import MethodRuns
from .render import markdown_table, render, spread

__all__ = ["page", "section"]

#: Options that a command line names elsewhere, or that say where a training ran rather than what it was.
_APART = ("method", "data", "val", "seed", "device")


def page(matrices: Sequence[Matrix], command: str) -> str:
    """All matrices on one page, in Markdown.

    Arguments:
        matrices: With at least one finished run each.
        command: Command that made the page.
    """
    parts = [
        "# Results",
        f"This command made the page from the run folders:\n\n{code_block(command)}",
        *map(section, matrices),
    ]
    shareable = Shareable([[job.to_json() for job in matrix.jobs] for matrix in matrices])
    return shareable.text("\n\n".join(part.strip() for part in parts)) + "\n"


def section(matrix: Matrix) -> str:
    """One matrix: the leaderboard, each set, each group of test images, each detector, and each run's commands."""
    there = matrix.all_method_runs
    if not there:
        raise OutskirtsError(f"No run of '{matrix.title}' is finished. Finish one with: {matrix.command}")
    parts = [
        render(matrix.leaderboard, "markdown", matrix.title, matrix.command, matrix.description),
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


def _runs(matrix: Matrix, there: Sequence[MethodRuns]) -> str:
    """What trains and measures each run by itself; seeds beyond the first differ by theirs alone."""
    jobs = {(job.label, job.seed): job for job in matrix.jobs}
    commands = []
    for method in there:
        seed, *others = method.runs
        more = f"  # and --seed {', '.join(map(str, others))}" if others else ""
        commands += [_train(jobs[method.label, seed]) + more]
    job = matrix.jobs[0]
    precision = " --precision bf16" if job.options["precision"] == "bf16" else ""
    tune = f"--tune-on {shlex.quote(brief(job.tune_on))}" if job.tune_on else "--tune"
    commands.append(
        f"outskirts evaluate RUN --benchmark {matrix.title} {tune}{precision} --detectors {' '.join(job.detectors)}"
    )
    machine = _machine([run.environment or {} for method in there for run in method.runs.values()])
    return code_block("\n".join(commands)) + f"\n\n{markdown(machine)}"


def _train(job: Job) -> str:
    usual = resolve_recipe(job.method, {}).flat()
    words = ["outskirts", "train", job.method, "--data", brief(job.sets["train"])]
    words += ["--val", brief(job.sets["val"])] if "val" in job.sets else []
    for name, value in job.options.items():
        if name not in _APART and value != usual[name]:
            flag = name.replace("_", "-")
            words += (
                [f"--{flag}" if value else f"--no-{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]
            )
    return shlex.join([*words, "--seed", str(job.seed)])


def _machine(environments: Sequence[Mapping[str, Any]]) -> str:
    """Where the runs were made, once if all say the same."""
    shown: Sequence[tuple[str, Callable[[Any], str]]] = (
        ("outskirts", "outskirts {}".format),
        ("torch", "torch {}".format),
        ("processor", "{}".format),
        ("threads", lambda n: f"{counted(n, 'thread')} for each run"),
        ("accelerator", "{}".format),
    )
    texts = dict.fromkeys(
        ", ".join(form(of[name]) for name, form in shown if of.get(name) is not None) for of in environments if of
    )
    return f"Trained with {'; or '.join(texts)}." if texts else ""
