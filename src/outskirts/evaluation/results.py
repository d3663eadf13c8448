"""What an evaluation found: a table of numbers with their intervals, and the scores behind them."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import OutskirtsError
from ..files import load_tensors, save_tensors, write_text
from .set_groups import SHIFTED, is_full_spectrum

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["ID", "MEAN", "TUNING", "Result", "Results", "labels"]

#: What the scores of the ID test images are kept as.
ID = "id"

#: The dataset name of the row that averages a group.
MEAN = "mean"

#: The group of the rows that parameters were chosen by.
TUNING = "tuning"

#: Detectors' labels up to this length are never folded, whatever that leaves for the numbers.
_WIDEST = 24


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


COLUMNS = [column.name for column in fields(Result)]
_PARSERS: dict[str, Callable[[str], Any]] = {
    "str": str,
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


def headline(found: Sequence[str], published: Sequence[Mapping[str, Any]]) -> str | None:
    """The detector that a summary speaks of: fixed beforehand, never the best on the test sets.

    Arguments:
        found: Labels of the detectors that there are.
        published: Those that the method is published with; the first one's name is preferred, then ``msp``.

    >>> headline(["energy", "knn(k=1)", "msp"], [{"name": "knn", "k": 1}])
    'knn(k=1)'
    """
    wanted = [spec["name"] for spec in published[:1]] + ["msp"]
    preferred = [label for name in wanted for label in found if label.partition("(")[0] == name]
    return next(iter([*preferred, *found]), None)


@dataclass(frozen=True)
class Results:
    """The results of one evaluation, or of several merged by ``+``.

    Arguments:
        rows: One for each detector and OOD set, and one for each detector and group.
        scores: By the detector's label and the dataset, [N], float64; the dataset ``"id"`` holds the ID test
            images. In merged results the label is preceded by the run: ``"run/label"``.
        skipped: Why a detector was left out, by its label.
        tuning: What the parameters of detectors were chosen by: a row for each point of their grids.
    """

    rows: tuple[Result, ...]
    scores: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    tuning: tuple[Result, ...] = ()

    def id_scores(self, detector: str, group: str) -> Tensor:
        """The scores of the images that count as ID in a group, by the detector's label."""
        names = [ID]
        if is_full_spectrum(group):
            names += dict.fromkeys(row.dataset for row in self.rows if row.group == SHIFTED and row.dataset != MEAN)
        return torch.cat([self.scores[detector][name] for name in names])

    def save(self, folder: Path | str) -> None:
        """Write ``results.csv`` and ``scores.safetensors`` into a folder."""
        tensors = {f"{label}/{name}": t for label, sets in self.scores.items() for name, t in sets.items()}
        save_tensors(Path(folder) / "scores.safetensors", tensors, {"skipped": dict(self.skipped)})
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([COLUMNS, *map(astuple, (*self.rows, *self.tuning))])
        write_text(Path(folder) / "results.csv", text.getvalue())

    @staticmethod
    def load(folder: Path | str) -> Results:
        """Read what `save` wrote; the table alone suffices."""
        read, kept = _read(Path(folder) / "results.csv"), Path(folder) / "scores.safetensors"
        tuning = tuple(row for row in read if row.group == TUNING)
        rows = tuple(row for row in read if row.group != TUNING)
        if not kept.exists():
            return Results(rows, tuning=tuning)
        tensors, metadata = load_tensors(kept)
        if "skipped" not in metadata:
            raise OutskirtsError(f"{kept} holds no scores written by outskirts.")
        scores: dict[str, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            label, _, dataset = key.rpartition("/")
            scores.setdefault(label, {})[dataset] = tensor
        return Results(rows, scores, metadata["skipped"], tuning)

    def __add__(self, other: Results) -> Results:
        one, two = self._qualified(), other._qualified()
        if twice := (one.scores.keys() & two.scores.keys()):
            raise OutskirtsError(
                f"Both results hold scores of {', '.join(sorted(twice))}: give the runs different names."
            )
        return Results(
            one.rows + two.rows,
            {**one.scores, **two.scores},
            {**one.skipped, **two.skipped},
            one.tuning + two.tuning,
        )

    def _qualified(self) -> Results:
        """The same with labels that name their run, so that those of several runs do not clash."""
        runs = {row.run for row in self.rows}
        prefix = f"{runs.pop()}/" if len(runs) == 1 else ""

        def qualify(table: Mapping[str, Any]) -> dict[str, Any]:
            return {prefix + label.removeprefix(prefix): value for label, value in table.items()}

        return Results(self.rows, qualify(self.scores), qualify(self.skipped), self.tuning)

    def table(self) -> Table:
        """For the terminal: a row for each detector, a column for each set and each group's average."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        caption = ["AUROC ±half its 95 % interval, the wider half; below it FPR95 with ID|with OOD positive. All in %."]
        caption += [f"Left out: {label}, which {reason}." for label, reason in self.skipped.items()]
        if self.tuning:
            points = Counter(row.detector for row in self.tuning)
            tuned = ", ".join(name for name, count in points.items() if count > 1)
            by = ", ".join(dict.fromkeys(row.dataset for row in self.tuning))
            caption.append(f"Parameters were chosen on validation images and {by}, of: {tuned}.")
        table = Table(caption="\n".join(caption), caption_justify="left", box=SIMPLE_HEAD, padding=0, show_edge=False)
        columns, by_detector = self._columns(), self._by_detector()
        width = max(map(len, ["detector", *by_detector]))
        table.add_column("detector", overflow="fold", no_wrap=width <= _WIDEST)
        for group, dataset in columns:
            table.add_column(f"{group}\n{dataset}", justify="right", overflow="fold")
        for label, cells in by_detector.items():
            table.add_row(label, *(_cell(cells.get(column)) for column in columns))
        return table

    def _columns(self) -> list[tuple[str, str]]:
        """Group and dataset of each column: a group's average first, if it has more than one set."""
        groups: dict[str, dict[str, None]] = {}
        for row in self.rows:
            groups.setdefault(row.group, {})[row.dataset] = None
        return [
            (group, dataset)
            for group, datasets in groups.items()
            for dataset in sorted(datasets, key=lambda name: name != MEAN)
            if dataset != MEAN or len(datasets) != 2
        ]

    def _by_detector(self) -> dict[str, dict[tuple[str, str], Result]]:
        """The rows by the detector's label, which names the run if there are several, and by column."""
        runs: dict[str, list[Result]] = {}
        for row in self.rows:
            runs.setdefault(row.run, []).append(row)
        table: dict[str, dict[tuple[str, str], Result]] = {}
        for run, rows in runs.items():
            distinct = list(dict.fromkeys((row.detector, row.params) for row in rows))
            label = dict(zip(distinct, labels(distinct)))
            for row in rows:
                name = label[row.detector, row.params]
                key = f"{run}/{name}" if len(runs) > 1 else name
                table.setdefault(key, {})[row.group, row.dataset] = row
        return table


def _cell(row: Result | None) -> str:
    if row is None:
        return ""
    half = max(row.auroc - row.auroc_lo, row.auroc_hi - row.auroc)
    percent = [100 * value for value in (row.auroc, half, row.fpr95, row.fpr95_ood_positive)]
    return "{:.1f} ±{:.1f}\n{:.1f}|{:.1f}".format(*percent)


def _read(path: Path) -> tuple[Result, ...]:
    """The rows of a results.csv; a missing, damaged or foreign file is a clear error."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *lines = list(csv.reader(file)) or [[]]
    except FileNotFoundError as error:
        raise OutskirtsError(f"{path} is missing.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise OutskirtsError(f"{path} is damaged: it is not a CSV file ({error}).") from error
    if header != COLUMNS:
        missing, foreign = (sorted(set(a) - set(b)) for a, b in ((COLUMNS, header), (header, COLUMNS)))
        raise OutskirtsError(
            f"{path} is not a table of results written by outskirts: columns missing {missing}, "
            f"foreign {foreign}; their order counts."
        )
    parsers = [_PARSERS[str(column.type)] for column in fields(Result)]
    rows = []
    for number, line in enumerate(lines, start=2):
        try:
            rows.append(Result(*(parse(cell) for parse, cell in zip(parsers, line, strict=True))))
        except ValueError as error:
            raise OutskirtsError(f"{path} is damaged in line {number}: {error}.") from error
    return tuple(rows)
