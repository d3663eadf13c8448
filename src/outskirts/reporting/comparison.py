"""Later runs against the first one: differences of mean AUROC with a paired interval."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import fmean

from ..evaluation.intervals import delong_test
from ..evaluation.results import ID, MEAN
from .run_report import RunReport

__all__ = ["Difference", "compare"]


@dataclass(frozen=True)
class Difference:
    """The mean AUROC of a run over a group of sets, minus that of the baseline."""

    run: str
    group: str
    datasets: tuple[str, ...]
    detector: str
    baseline: float
    auroc: float
    interval: tuple[float, float] | None
    p_value: float | None

    @property
    def difference(self) -> float:
        """Positive where the run is better than the baseline."""
        return self.auroc - self.baseline


def compare(runs: Sequence[RunReport]) -> list[Difference]:
    """Every run after the first against the first, per group and detector, on the sets they share."""
    return [line for run in runs[1:] for line in _differences(runs[0], run)]


def _differences(baseline: RunReport, run: RunReport) -> Iterator[Difference]:
    for old_table, new_table in product(baseline.tables, run.tables):
        if old_table.group != new_table.group:
            continue
        for detector, old in old_table.lines.items():
            new = new_table.lines.get(detector, {})
            shared = tuple(name for name in old if name != MEAN and name in new)
            if shared:
                interval, p_value = _paired_test(baseline, run, detector, old_table.group, shared)
                yield Difference(
                    run=run.name,
                    group=old_table.group,
                    datasets=shared,
                    detector=detector,
                    baseline=fmean(old[name].auroc for name in shared),
                    auroc=fmean(new[name].auroc for name in shared),
                    interval=interval,
                    p_value=p_value,
                )


def _paired_test(
    baseline: RunReport, run: RunReport, detector: str, group: str, datasets: Sequence[str]
) -> tuple[tuple[float, float] | None, float | None]:
    """DeLong's interval and p-value, or None where the scores are not of the same images."""
    old, new = (r.results.scores.get(detector, {}) for r in (baseline, run))
    if any(name not in old or name not in new or len(old[name]) != len(new[name]) for name in (ID, *datasets)):
        return None, None
    known = [r.results.id_scores(detector, group) for r in (run, baseline)]
    if len(known[0]) != len(known[1]):
        return None, None
    outside = [[of[name] for name in datasets] for of in (new, old)]
    photographs = run.results.id_photographs(group)
    test = delong_test(known[0], outside[0], known[1], outside[1], photographs=photographs)
    return (test.lo, test.hi), test.p_value
