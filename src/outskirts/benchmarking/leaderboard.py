"""Where each method of a matrix stands: means over seeds, against the first of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from statistics import fmean, variance
from typing import Any

from scipy.stats import norm, rankdata
from torch import Tensor

from ..evaluation.intervals import delong_test
from ..evaluation.results import MEAN
from ..evaluation.set_groups import is_ood
from ..evaluation.subgroups import worst
from ..reporting.run_report import RunReport
from ..reporting.seeds import Spread
from .method_runs import MethodRuns

__all__ = ["Group", "LeaderboardRow", "holm", "leaderboard"]


@dataclass(frozen=True)
class Group:
    """A method on one group of OOD sets.

    Arguments:
        auroc, fpr95, fpr95_ood_positive: Averages over the sets, over seeds.
        half: Half of the AUROC's 95 % interval over test images, averaged over seeds.
        difference: Difference of the AUROC to the baseline, averaged over seeds; none for the baseline itself.
        p_value: p-value of the difference, corrected for all that are tested.
    """

    auroc: Spread
    half: float
    fpr95: Spread
    fpr95_ood_positive: Spread
    difference: float | None = None
    p_value: float | None = None


@dataclass(frozen=True)
class LeaderboardRow:
    """A line of the table.

    Arguments:
        label: The method, with its variant.
        detector: Chosen on validation images.
        seeds: Seeds of the runs that are there.
        accuracy: Accuracy on ID test images, over seeds.
        groups: Results on each group of OOD sets, by its name.
        rank: Rank by the AUROC averaged over groups of OOD sets, from 1.
        worst: Accuracy of the worst group, over seeds, where groups of test images are known.
        backbone: The network, the side of its input and whether its weights were trained before, in words.
        epochs: Epochs of a training.
        minutes: Minutes that a run takes, on average.
        images: Through the network in a training, augmented ones counted each.
    """

    label: str
    detector: str
    seeds: tuple[int, ...]
    accuracy: Spread | None
    groups: Mapping[str, Group]
    minutes: float
    images: int
    rank: float = 0.0
    worst: Spread | None = None
    backbone: str = ""
    epochs: int = 0

    @property
    def auroc(self) -> float:
        """Averaged over groups of OOD sets, if there are any."""
        return fmean([group.auroc.mean for name, group in self.groups.items() if is_ood(name)] or [float("nan")])


def leaderboard(there: Sequence[MethodRuns], first: str) -> list[LeaderboardRow]:
    """A line for each, against the one whose label is `first` if its runs are there."""
    baseline = there[0] if there and there[0].label == first else None
    return _ranked(_corrected([_line(one, baseline) for one in there]))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected so that the chance of any false one among them stays what each says.

    References:
        | A Simple Sequentially Rejective Multiple Test Procedure (Holm, 1979)
        | https://www.jstor.org/stable/4615733

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        corrected[index] = largest
    return corrected


def _line(one: MethodRuns, baseline: MethodRuns | None) -> LeaderboardRow:
    groups = {}
    for name, rows in one.means(one.detector).items():
        groups[name] = Group(
            Spread.of(row.auroc for row in rows),
            fmean(max(row.auroc - row.auroc_lo, row.auroc_hi - row.auroc) for row in rows),
            Spread.of(row.fpr95 for row in rows),
            Spread.of(row.fpr95_ood_positive for row in rows),
        )
        if baseline and one is not baseline and (shared := [seed for seed in one.runs if seed in baseline.runs]):
            difference, p = _against(baseline, one, shared, name)
            groups[name] = replace(groups[name], difference=difference, p_value=p)
    first = next(iter(one.results(one.detector).values()))
    known = [row.id_accuracy for row in next(iter(first.values())) if row.id_accuracy is not None]
    grouped = [worst(run.groups).accuracy for run in one.runs.values() if run.groups]
    return LeaderboardRow(
        one.label,
        one.detector,
        tuple(one.runs),
        Spread.of(known) if known else None,
        groups,
        one.minutes,
        round(fmean(map(_shown, one.runs.values()))),
        worst=Spread.of(grouped) if grouped else None,
        backbone=_backbone(next(iter(one.runs.values())).config),
        epochs=next(iter(one.runs.values())).config.get("epochs", 0),
    )


def _backbone(options: Mapping[str, Any]) -> str:
    name = str(options.get("backbone", ""))
    # A folder is known by its name alone.
    parts = [name if name.count("/") == 0 else f"{name.partition(':')[0]}:{name.rpartition('/')[2]}"]
    parts += [f"{options['size']} px"] if options.get("size") else []
    return ", ".join([*parts, *["pretrained"] * bool(options.get("pretrained"))])


def _against(old: MethodRuns, new: MethodRuns, seeds: Sequence[int], group: str) -> tuple[float, float | None]:
    """The mean difference of AUROCs over seeds, and how likely one as large is by chance.

    Test images and seeds both vary. Those images are the same for all seeds, so that their part of the variance, by
    DeLong's test, does not shrink with the number of seeds; that of the seeds does.
    """
    differences, variances = [], []
    for seed in seeds:
        known = new.runs[seed].results.id_photographs(group)
        test = delong_test(*_scores(new, seed, group), *_scores(old, seed, group), photographs=known)
        differences.append(test.difference)
        variances.append(((test.hi - test.lo) / (2 * norm.ppf(0.975))) ** 2)
    of_seeds = variance(differences) / len(differences) if len(differences) > 1 else 0.0
    error = sqrt(fmean(variances) + of_seeds)
    mean = fmean(differences)
    return mean, 2 * float(norm.sf(abs(mean) / error)) if error else None


def _scores(one: MethodRuns, seed: int, group: str) -> tuple[Tensor, list[Tensor]]:
    """Scores of the images that count as ID in a group, and of each of its sets."""
    run, label = one.runs[seed], one.label_of(seed, one.detector)
    names = [name for table in run.tables if table.group == group for name in table.datasets if name != MEAN]
    return run.results.id_scores(label, group), [run.results.scores[label][name] for name in names]


def _shown(run: RunReport) -> int:
    """Images that went through the network in a training."""
    begun = next((line for line in run.metrics or [] if line["kind"] == "data"), {})
    return int(begun.get("images", 0) * run.config.get("epochs", 0))


def _corrected(lines: Sequence[LeaderboardRow]) -> list[LeaderboardRow]:
    tested = [(line.label, name) for line in lines for name, group in line.groups.items() if group.p_value is not None]
    values = {(line.label, name): group.p_value for line in lines for name, group in line.groups.items()}
    p_values = dict(zip(tested, holm([values[key] or 0.0 for key in tested])))
    return [
        replace(
            line,
            groups={
                name: replace(group, p_value=p_values.get((line.label, name))) for name, group in line.groups.items()
            },
        )
        for line in lines
    ]


def _ranked(lines: Sequence[LeaderboardRow]) -> list[LeaderboardRow]:
    ranks = rankdata([-line.auroc for line in lines], method="min")
    return [replace(line, rank=float(rank)) for line, rank in zip(lines, ranks)]
