"""The rows of ``results.csv``: one detector on one OOD set each."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from ..contents import misfit
from ..errors import OutskirtsError
from ..files import reading
from .csv_cells import unguarded

__all__ = ["COLUMNS", "ID", "MEAN", "TUNING", "Result", "headline", "labels", "read_rows"]

#: What the scores of the ID test images are kept as.
ID = "id"

#: The dataset name of the row that averages a group.
MEAN = "mean"

#: The group of the rows that parameters were chosen by.
TUNING = "tuning"


@dataclass(frozen=True)
class Result:
    """One detector on one OOD set, or on the average over a group; the fields are the table's columns.

    Rates are shares in [0, 1]; ``_lo`` and ``_hi`` bound the 95 % confidence interval. The intervals of an
    average account for the ID images that its sets share, except those of the AUPR, which are averages of the
    sets' bounds and therefore conservative.
    """

    run: str
    method: str
    seed: int
    detector: str
    #: The detector's parameters as JSON.
    params: str
    group: str
    #: The OOD set, or ``"mean"``.
    dataset: str
    n_id: int
    n_ood: int
    auroc: float
    auroc_lo: float
    auroc_hi: float
    aupr_in: float
    aupr_out: float
    #: With ID as the positive class.
    fpr95: float
    fpr95_ood_positive: float
    #: None where the ID images have no labels.
    id_accuracy: float | None
    aupr_in_lo: float
    aupr_in_hi: float
    aupr_out_lo: float
    aupr_out_hi: float
    fpr95_lo: float
    fpr95_hi: float
    fpr95_ood_positive_lo: float
    fpr95_ood_positive_hi: float
    id_accuracy_lo: float | None
    id_accuracy_hi: float | None
    #: The mean accuracy of the classes that have ID images. Tables of earlier versions lack it.
    id_balanced_accuracy: float | None = None
    id_balanced_accuracy_lo: float | None = None
    id_balanced_accuracy_hi: float | None = None


COLUMNS = [column.name for column in fields(Result)]
_FIRST_COLUMNS = [column.name for column in fields(Result) if column.default is MISSING]
_PARSERS: dict[str, Callable[[str], Any]] = {
    "str": unguarded,
    "int": int,
    "float": float,
    "float | None": lambda cell: float(cell) if cell else None,
}


def labels(detectors: Sequence[tuple[str, str]]) -> list[str]:
    """A short label for each detector, given as its name and its parameters in JSON: of those that share a name, with
    the parameters in which they differ.

    >>> labels([("msp", "{}"), ("knn", '{"k": 10, "space": "features"}'), ("knn", '{"k": 50, "space": "features"}')])
    ['msp', 'knn(k=10)', 'knn(k=50)']
    """
    known = [(name, json.loads(params)) for name, params in detectors]

    def label(name: str, params: dict[str, Any]) -> str:
        namesakes = [other for its, other in known if its == name]
        told = [f"{key}={value}" for key, value in params.items() if any(o.get(key) != value for o in namesakes)]
        return f"{name}({', '.join(told)})" if told else name

    return [label(*detector) for detector in known]


def headline(labels: Sequence[str], published: Sequence[Mapping[str, Any]]) -> str | None:
    """The detector that a summary speaks of: fixed beforehand, never the best on the test sets.

    Arguments:
        labels: Labels of the detectors that there are.
        published: Those that the method is published with; the first one's name is preferred, then ``msp``.

    >>> headline(["energy", "knn(k=1)", "msp"], [{"name": "knn", "k": 1}])
    'knn(k=1)'
    """
    wanted = [spec["name"] for spec in published[:1]] + ["msp"]
    preferred = [label for name in wanted for label in labels if label.partition("(")[0] == name]
    return next(iter([*preferred, *labels]), None)


def read_rows(path: Path) -> tuple[Result, ...]:
    """The rows of a results.csv; a missing, damaged or foreign file is a clear error."""
    try:
        with reading(path), path.open(encoding="utf-8", newline="") as file:
            header, *lines = list(csv.reader(file)) or [[]]
    except (UnicodeDecodeError, csv.Error) as error:
        raise OutskirtsError(f"{path} is damaged: it is not a CSV file ({error}).") from error
    if header not in (COLUMNS, _FIRST_COLUMNS):
        missing, foreign = (sorted(set(a) - set(b)) for a, b in ((COLUMNS, header), (header, COLUMNS)))
        raise OutskirtsError(
            f"{path} is not a table of results written by outskirts; missing columns: {missing}, unknown "
            f"columns: {foreign}. The order of the columns counts."
        )
    parsers = [_PARSERS[str(column.type)] for column in fields(Result)]
    rows = []
    for number, line in enumerate(lines, start=2):
        try:
            row = Result(*(parse(cell) for parse, cell in zip(parsers[: len(header)], line, strict=True)))
            if clause := misfit(json.loads(row.params), {str: Any}, "params"):
                raise ValueError(clause)
            rows.append(row)
        except (ValueError, RecursionError) as error:
            raise OutskirtsError(f"{path} is damaged in line {number}: {error}.") from error
    return tuple(rows)
