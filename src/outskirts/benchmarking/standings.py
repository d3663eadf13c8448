"""Where each method of a matrix stands: means over seeds, against the first of them.

The detector of a method is the one that is best on validation images and outliers made of them, averaged over its
seeds; test sets take no part in the choice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from statistics import fmean, variance

from scipy.stats import norm, rankdata

from ..evaluation.groups import worst
from ..evaluation.intervals import delong_test
from ..evaluation.report.runfolder import RunFolder
from ..evaluation.report.seeds import Spread
from ..evaluation.results import MEAN, Result
from ..evaluation.spectrum import is_ood
from .cell import finished, record
from .plan import Cell

__all__ = ["Group", "Standing", "holm", "standings"]


@dataclass(frozen=True)
class Group:
    """A method on one group of OOD sets.

    Arguments:
        auroc, fpr95, fpr95_ood_positive: Averages over the sets, over seeds.
        half: Half of the AUROC's 95 % interval over test images, averaged over seeds.
        difference: Of the AUROC to the baseline, averaged over seeds; none for the baseline itself.
        p_value: Of the difference, corrected for all that are tested.
    """

    auroc: Spread
    half: float
    fpr95: Spread
    fpr95_ood_positive: Spread
    difference: float | None = None
    p_value: float | None = None


@dataclass(frozen=True)
class Standing:
    """A line of the table.

    Arguments:
        label: The method, with its variant.
        detector: Chosen on validation images.
        seeds: Those that are there.
        accuracy: On ID test images, over seeds.
        groups: By name.
        rank: By the AUROC averaged over groups of OOD sets, from 1.
        worst: Accuracy of the worst group, over seeds, where groups of test images are known.
        minutes: Of a run, on average.
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

    @property
    def auroc(self) -> float:
        """Averaged over groups of OOD sets, if there are any."""
        return fmean([group.auroc.mean for name, group in self.groups.items() if is_ood(name)] or [float("nan")])


def standings(cells: Sequence[Cell]) -> list[Standing]:
    """A line for each method and variant of which a run is there, in the order of the plan."""
    runs: dict[str, dict[int, RunFolder]] = {}
    seconds: dict[str, list[float]] = {}
    for cell in cells:
        if finished(cell):
            runs.setdefault(cell.label, {})[cell.seed] = RunFolder.read(cell.folder, cell.folder.name)
            seconds.setdefault(cell.label, []).append(record(cell).seconds)
    chosen = {label: _chosen(list(of.values())) for label, of in runs.items()}
    baseline = cells[0].label if cells and cells[0].label in runs else None
    lines = []
    for label, of in runs.items():
        rows = {seed: _rows(run, chosen[label]) for seed, run in of.items()}
        groups = {}
        for group in next(iter(rows.values())):
            found = [own[group] for own in rows.values() if group in own]
            groups[group] = Group(
                Spread.of(row.auroc for row in found),
                fmean(max(row.auroc - row.auroc_lo, row.auroc_hi - row.auroc) for row in found),
                Spread.of(row.fpr95 for row in found),
                Spread.of(row.fpr95_ood_positive for row in found),
            )
            if baseline and label != baseline:
                pairs = [(runs[baseline][seed], of[seed]) for seed in of if seed in runs[baseline]]
                if pairs:
                    difference, p = _against(pairs, (chosen[baseline], chosen[label]), group)
                    groups[group] = replace(groups[group], difference=difference, p_value=p)
        accuracies = [row.id_accuracy for own in rows.values() for row in list(own.values())[:1]]
        known = [value for value in accuracies if value is not None]
        lines.append(
            Standing(
                label,
                chosen[label],
                tuple(of),
                Spread.of(known) if known else None,
                groups,
                fmean(seconds[label]) / 60,
                round(fmean(map(_shown, of.values()))),
                worst=_worst(of.values()),
            )
        )
    return _ranked(_corrected(lines))


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


def _best(run: RunFolder) -> dict[str, Result]:
    """Of each detector, the row of the parameters that were chosen."""
    best: dict[str, Result] = {}
    for row in run.results.tuning:
        if row.detector not in best or row.auroc > best[row.detector].auroc:
            best[row.detector] = row
    return best


def _chosen(runs: Sequence[RunFolder]) -> str:
    """The detector with the largest AUROC on validation images, averaged over runs, of those that all of them have."""
    best = [_best(run) for run in runs]
    there = [{row.detector for row in run.results.rows} for run in runs]
    able = [name for name in best[0] if all(name in own for own in best) and all(name in own for own in there)]
    if not able:
        return runs[0].headline.partition("(")[0]
    return max(able, key=lambda name: fmean(own[name].auroc for own in best))


def _label(run: RunFolder, detector: str) -> str:
    """What the results of a run call a detector with the parameters that were chosen."""
    found = {key: label for key, label in run.detectors.items() if key[0] == detector}
    row = _best(run).get(detector)
    return found.get((detector, row.params), next(iter(found.values()))) if row else next(iter(found.values()))


def _rows(run: RunFolder, detector: str) -> dict[str, Result]:
    """A detector's average, or only set, in each group."""
    label = _label(run, detector)
    return {
        table.group: table.lines[label][MEAN if MEAN in table.datasets else table.datasets[0]] for table in run.tables
    }


def _against(
    pairs: Sequence[tuple[RunFolder, RunFolder]], detectors: tuple[str, str], group: str
) -> tuple[float, float | None]:
    """The mean difference of AUROCs over seeds, and how likely one as large is by chance.

    Test images and seeds both vary. Those images are the same for all seeds, so that their part of the variance, by
    DeLong's test, does not shrink with the number of seeds; that of the seeds does.
    """
    differences, variances = [], []
    for pair in pairs:
        old, new = (run.results.scores[_label(run, name)] for run, name in zip(pair, detectors))
        names = [name for table in pair[0].tables if table.group == group for name in table.datasets if name != MEAN]
        known = [run.results.id_scores(_label(run, name), group) for run, name in zip(pair, detectors)]
        test = delong_test(known[1], [new[name] for name in names], known[0], [old[name] for name in names])
        differences.append(test.difference)
        variances.append(((test.hi - test.lo) / (2 * norm.ppf(0.975))) ** 2)
    of_seeds = variance(differences) / len(differences) if len(differences) > 1 else 0.0
    error = sqrt(fmean(variances) + of_seeds)
    mean = fmean(differences)
    return mean, 2 * float(norm.sf(abs(mean) / error)) if error else None


def _worst(runs: Iterable[RunFolder]) -> Spread | None:
    found = [worst(run.groups).accuracy for run in runs if run.groups]
    return Spread.of(found) if found else None


def _shown(run: RunFolder) -> int:
    """Images that went through the network in a training."""
    begun = next((line for line in run.metrics or [] if line["kind"] == "data"), {})
    return int(begun.get("images", 0) * run.config.get("epochs", 0))


def _corrected(lines: Sequence[Standing]) -> list[Standing]:
    tested = [(line.label, name) for line in lines for name, group in line.groups.items() if group.p_value is not None]
    values = {(line.label, name): group.p_value for line in lines for name, group in line.groups.items()}
    found = dict(zip(tested, holm([values[key] or 0.0 for key in tested])))
    return [
        replace(
            line,
            groups={name: replace(group, p_value=found.get((line.label, name))) for name, group in line.groups.items()},
        )
        for line in lines
    ]


def _ranked(lines: Sequence[Standing]) -> list[Standing]:
    ranks = rankdata([-line.auroc for line in lines], method="min")
    return [replace(line, rank=float(rank)) for line, rank in zip(lines, ranks)]
