"""Where each method of a matrix stands: means over seeds, against the first of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from scipy.stats import rankdata

from ..evaluation.over_seeds import SeedScores, auroc_over_seeds, delong_over_seeds
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
        half: Half of the 95 % interval of the AUROC's mean, over test images and, if there are several, seeds.
        difference: Difference of the AUROC to the baseline, averaged over seeds; none for the baseline itself.
        p_value: p-value of the difference, corrected for all that are tested.
        shared: How many seeds the method and the baseline both have. With one, `p_value` is over test images alone.
    """

    auroc: Spread
    half: float
    fpr95: Spread
    fpr95_ood_positive: Spread
    difference: float | None = None
    p_value: float | None = None
    shared: int = 0


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
            _half(one, name, fmean(row.auroc for row in rows)),
            Spread.of(row.fpr95 for row in rows),
            Spread.of(row.fpr95_ood_positive for row in rows),
        )
        if baseline and one is not baseline and (shared := [seed for seed in one.runs if seed in baseline.runs]):
            new, old = ([_scores(runs, seed, name) for seed in shared] for runs in (one, baseline))
            test = delong_over_seeds(new, old)
            groups[name] = replace(groups[name], difference=test.difference, p_value=test.p_value, shared=len(shared))
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


def _half(one: MethodRuns, group: str, mean: float) -> float:
    """Half of the interval of the mean AUROC; its wider half where it ends at 0 or 1."""
    lo, hi = auroc_over_seeds([_scores(one, seed, group) for seed in one.runs])
    return max(mean - lo, hi - mean)


def _backbone(options: Mapping[str, Any]) -> str:
    name = str(options.get("backbone", ""))
    # A folder is known by its name alone.
    parts = [name if name.count("/") == 0 else f"{name.partition(':')[0]}:{name.rpartition('/')[2]}"]
    parts += [f"{options['size']} px"] if options.get("size") else []
    return ", ".join([*parts, *["pretrained"] * bool(options.get("pretrained"))])


def _scores(one: MethodRuns, seed: int, group: str) -> SeedScores:
    """Scores of the images that count as ID in a group, and of each of its sets."""
    run, label = one.runs[seed], one.label_of(seed, one.detector)
    names = [name for table in run.tables if table.group == group for name in table.datasets if name != MEAN]
    return SeedScores(
        run.results.id_scores(label, group),
        [run.results.scores[label][name] for name in names],
        run.results.id_photographs(group),
    )


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
