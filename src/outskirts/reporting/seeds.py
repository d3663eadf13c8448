"""Runs that differ by their seed alone, together: means and sample standard deviations over them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import NamedTuple, Self

from ..evaluation.results import MEAN
from .run_report import RunReport

__all__ = ["OverSeeds", "Spread", "over_seeds"]


class Spread(NamedTuple):
    """The mean of some values and their sample standard deviation, with their number less one as divisor.

    >>> Spread.of([90, 92, 97])
    Spread(mean=93.0, deviation=3.60..., n=3)
    """

    mean: float
    deviation: float
    n: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """The spread of at least one value; the deviation of one is 0."""
        values = list(values)
        return cls(fmean(values), stdev(values) if len(values) > 1 else 0.0, len(values))


@dataclass(frozen=True)
class OverSeeds:
    """One detector on one group of sets, or its only set, over runs that differ by their seed."""

    runs: tuple[str, ...]
    method: str
    group: str
    detector: str
    id_accuracy: Spread | None
    auroc: Spread
    fpr95: Spread
    fpr95_ood_positive: Spread


def over_seeds(runs: Sequence[RunReport]) -> list[OverSeeds]:
    """For each two or more runs that are otherwise alike, every detector and group that all of them have."""
    alike: dict[str, list[RunReport]] = {}
    for run in runs:
        options = {name: value for name, value in run.config.items() if name != "seed"}
        alike.setdefault(json.dumps(options, sort_keys=True, default=str), []).append(run)
    return [line for same in alike.values() if len(same) > 1 for line in _lines(same)]


def _lines(runs: Sequence[RunReport]) -> Iterator[OverSeeds]:
    for table in runs[0].tables:
        others = [{other.group: other for other in run.tables}.get(table.group) for run in runs]
        # Sets that are not the same have no common mean.
        if any(other is None or other.datasets != table.datasets for other in others):
            continue
        dataset = MEAN if MEAN in table.datasets else table.datasets[0]
        for detector in table.lines:
            rows = [other.lines.get(detector, {}).get(dataset) for other in others if other is not None]
            present = [row for row in rows if row is not None]
            if len(present) < len(runs):
                continue
            accuracies = [row.id_accuracy for row in present if row.id_accuracy is not None]
            yield OverSeeds(
                runs=tuple(run.name for run in runs),
                method=present[0].method,
                group=table.group,
                detector=detector,
                id_accuracy=Spread.of(accuracies) if len(accuracies) == len(present) else None,
                auroc=Spread.of(row.auroc for row in present),
                fpr95=Spread.of(row.fpr95 for row in present),
                fpr95_ood_positive=Spread.of(row.fpr95_ood_positive for row in present),
            )
