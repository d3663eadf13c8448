"""Which detector a guard has, where none is named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..detectors import Detector, registry
from ..detectors.base import create
from ..errors import OutskirtsError
from ..evaluation.evaluate import lacking
from ..evaluation.rows import Result
from ..evaluation.tuning import tune
from ..extraction.outputs import Outputs

__all__ = ["Choice", "candidates", "choose"]

#: AUROCs that differ by less are the same; the detector that is earlier in the list of candidates is taken.
_STEP = 1e-4


@dataclass(frozen=True)
class Choice:
    """A detector that was chosen, and by what.

    Arguments:
        detector: The detector, fitted.
        row: Line of the detector in the table.
        rows: Table with a line for each detector and each point of its grid.
    """

    detector: Detector
    row: Result
    rows: tuple[Result, ...]

    def to_json(self) -> dict[str, Any]:
        """The table, the best first."""
        ordered = sorted(self.rows, key=lambda row: -row.auroc)
        columns = ("detector", "params", "auroc", "auroc_lo", "auroc_hi", "fpr95", "n_id", "n_ood")
        return {
            "outliers": self.row.dataset,
            "table": [{name: getattr(row, name) for name in columns} for row in ordered],
        }


def candidates(outputs: Outputs) -> dict[str, Detector]:
    """The detectors to choose among: those that need nothing but the one pass through the network.

    They are the quickest, and an exported guard can hold them. The simplest come first: those that learn nothing and
    have no parameters to choose.

    Arguments:
        outputs: Outputs of the classifier, which say what it gives.
    """
    made: dict[str, Detector] = {}
    for name in registry.names():
        detector = create(name)
        if not detector.probes and not lacking(detector, outputs):
            made[name] = detector
    return dict(sorted(made.items(), key=lambda pair: (pair[1].fit_on is not None, bool(pair[1].grid), pair[0])))


def choose(
    among: Mapping[str, Detector], *, train: Outputs | None, val: Outputs, outliers: Outputs, name: str, seed: int
) -> Choice:
    """The detector, and the parameters of it, with the largest AUROC between validation images and outliers.

    Arguments:
        among: Detectors to choose among, by label.
        train: Outputs of the training images.
        val: Outputs of validation images.
        outliers: Outputs of the outliers.
        name: What these are called in the table.
        seed: Seed of the intervals.

    Raises:
        OutskirtsError: If no detector can be computed.
    """
    tuned = tune(among, train=train, val=val, outliers=outliers, name=name, seed=seed)
    if not tuned.rows:
        raise OutskirtsError("No detector can be computed on these images; name one to see why (--detector).")
    order = {label: place for place, label in enumerate(among)}
    best = min(tuned.rows, key=lambda row: (-round(row.auroc / _STEP), order[row.detector]))
    return Choice(tuned.detectors[best.detector], best, tuned.rows)
