"""What an evaluation found: a table of numbers with their intervals, and the scores behind them."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..contents import misfit
from ..errors import MissingPackage, OutskirtsError
from ..files import is_file, load_json, load_tensors, save_json, save_tensors, write_text
from . import display, plots
from .csv_cells import guarded
from .rows import COLUMNS, ID, MEAN, TUNING, Result, headline, labels, read_rows
from .set_groups import SHIFTED, is_full_spectrum

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame
    from rich.table import Table

__all__ = ["COLUMNS", "ID", "MEAN", "TUNING", "Result", "Results", "headline", "labels"]


@dataclass(frozen=True)
class Results:
    """The results of one evaluation, or of several merged by ``+``.

    Arguments:
        rows: One for each detector and OOD set, and one for each detector and group.
        scores: By the detector's label and the dataset, [N], float64; the dataset ``"id"`` holds the ID test
            images. In merged results the label is preceded by the run: ``"run/label"``.
        skipped: Why a detector was left out, by its label.
        tuning: What the parameters of detectors were chosen by: a row for each point of their grids.
        photographs: The number of each image's photograph, [N], by dataset, where some are of one photograph.
        notes: What a reader should know of the images and of what was measured, in sentences.
    """

    rows: tuple[Result, ...]
    scores: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    tuning: tuple[Result, ...] = ()
    photographs: Mapping[str, Tensor] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def id_scores(self, detector: str, group: str) -> Tensor:
        """The scores of the images that count as ID in a group, by the detector's label."""
        return torch.cat([self.scores[detector][name] for name in self._of_id(group)])

    def id_photographs(self, group: str) -> Tensor | None:
        """The numbers of these images' photographs; None where each image is its own."""
        names = self._of_id(group)
        if len(names) == 1 or any(name not in self.photographs for name in names):
            return None
        return torch.cat([self.photographs[name] for name in names])

    def _of_id(self, group: str) -> list[str]:
        """The datasets whose images count as ID in a group."""
        shifted = (row.dataset for row in self.rows if row.group == SHIFTED and row.dataset != MEAN)
        return [ID, *(dict.fromkeys(shifted) if is_full_spectrum(group) else ())]

    def save(self, folder: Path | str) -> None:
        """Write ``results.csv``, ``scores.safetensors`` and ``notes.json`` into a folder."""
        tensors = {f"{label}/{name}": t for label, sets in self.scores.items() for name, t in sets.items()}
        # No detector has an empty label.
        tensors |= {f"/{name}": t for name, t in self.photographs.items()}
        save_tensors(Path(folder) / "scores.safetensors", tensors, {"skipped": dict(self.skipped)})
        text = io.StringIO()
        rows = [[guarded(cell) if isinstance(cell, str) else cell for cell in astuple(row)] for row in self._all]
        csv.writer(text, lineterminator="\n").writerows([COLUMNS, *rows])
        write_text(Path(folder) / "results.csv", text.getvalue())
        save_json(Path(folder) / "notes.json", self.notes)

    @property
    def _all(self) -> tuple[Result, ...]:
        return (*self.rows, *self.tuning)

    @staticmethod
    def load(folder: Path | str) -> Results:
        """Read what `save` wrote; the table alone suffices."""
        read, kept = read_rows(Path(folder) / "results.csv"), Path(folder) / "scores.safetensors"
        said = Path(folder) / "notes.json"
        notes = tuple(load_json(said, [str])) if is_file(said) else ()
        tuning = tuple(row for row in read if row.group == TUNING)
        rows = tuple(row for row in read if row.group != TUNING)
        if not is_file(kept):
            return Results(rows, tuning=tuning, notes=notes)
        tensors, metadata = load_tensors(kept)
        if clause := misfit(metadata, {"skipped": {str: str}}):
            raise OutskirtsError(f"{kept} holds no scores written by outskirts: {clause}.")
        scores: dict[str, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            if tensor.ndim != 1 or tensor.is_complex():
                raise OutskirtsError(f"{kept} is damaged: '{key}' is no list of numbers, one for each image.")
            label, slash, dataset = key.rpartition("/")
            if not slash:
                raise OutskirtsError(f"{kept} is damaged: '{key}' names no detector and set, as in msp/id.")
            scores.setdefault(label, {})[dataset] = tensor
        photographs = scores.pop("", {})
        for label, sets in scores.items():
            if ID not in sets:
                raise OutskirtsError(f"{kept} is damaged: it has scores of '{label}', but none of the ID test images.")
        return Results(rows, scores, metadata["skipped"], tuning, photographs, notes)

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
            notes=tuple(dict.fromkeys((*one.notes, *two.notes))),
        )

    def _qualified(self) -> Results:
        """The same with labels that name their run, so that those of several runs do not clash."""
        runs = {row.run for row in self.rows}
        run = runs.pop() if len(runs) == 1 else ""
        prefix, of_run = (f"{run}/", f"{run}: ") if run else ("", "")

        def qualify(table: Mapping[str, Any]) -> dict[str, Any]:
            return {prefix + label.removeprefix(prefix): value for label, value in table.items()}

        notes = tuple(of_run + note.removeprefix(of_run) for note in self.notes)
        return Results(self.rows, qualify(self.scores), qualify(self.skipped), self.tuning, notes=notes)

    def to_dataframe(self, tuning: bool = False) -> DataFrame:
        """The table as a pandas data frame, with the columns of ``results.csv``.

        Arguments:
            tuning: Whether the rows that parameters were chosen by, of the group ``"tuning"``, follow.

        Raises:
            MissingPackage: If pandas is not installed.
        """
        try:
            import pandas
        except ModuleNotFoundError as error:
            raise MissingPackage("Results.to_dataframe", "pandas") from error
        rows = self._all if tuning else self.rows
        return pandas.DataFrame([astuple(row) for row in rows], columns=COLUMNS)

    def plot_roc(self, detector: str | Sequence[str] | None = None, group: str | None = None) -> Figure:
        """ROC curves with ID as the positive class, a panel for each set, and each curve's AUROC with its interval.

        Up to six detectors are drawn in colour. Of more, the first that is asked for is, or else ``msp`` or the first
        there is; the others are grey.

        Arguments:
            detector: Labels of detectors, or names, which stand for all of that name; all detectors unless given.
            group: Group whose sets to show; the sets of every group of OOD sets, with the ID test images, unless given.

        Raises:
            OutskirtsError: If there are no scores, or none of what is asked for.
        """
        chosen = self._chosen(detector)
        names = display.told_apart(self.rows)
        first = chosen[0] if detector is not None else display.first(chosen, names)
        return plots.roc_figure(self._curves(chosen, group), first)

    def plot_scores(self, detector: str | Sequence[str] | None = None, group: str | None = None) -> Figure:
        """Histograms of the scores of ID and of OOD images, a panel for each detector and set.

        Arguments:
            detector: Labels of detectors, or names, which stand for all of that name; ``msp``, or the first there is,
                unless given.
            group: Group whose sets to show; the sets of every group of OOD sets unless given.

        Raises:
            OutskirtsError: If there are no scores, or none of what is asked for.
        """
        chosen = self._chosen(detector)
        if detector is None:
            chosen = [display.first(chosen, display.told_apart(self.rows))]
        return plots.scores_figure(self._curves(chosen, group))

    def _chosen(self, detector: str | Sequence[str] | None) -> list[str]:
        """The labels of the detectors asked for that keep scores, in the order asked for."""
        if not self.scores:
            raise OutskirtsError("These results keep no scores to draw; evaluate again.")
        if detector is None:
            return list(self.scores)
        return plots.matching(detector, list(self.scores), display.told_apart(self.rows))

    def _curves(self, chosen: Sequence[str], group: str | None) -> dict[tuple[str, str], dict[str, plots.Pair]]:
        """The ID and OOD scores of detectors, by their labels, of each set with its group."""
        shown = plots.sets_shown(self.rows, group)
        curves: dict[tuple[str, str], dict[str, plots.Pair]] = {}
        for label in chosen:
            for place in shown:
                if place[1] in self.scores[label]:
                    known, other = self.id_scores(label, place[0]), self.scores[label][place[1]]
                    curves.setdefault(place, {})[label] = (known, other)
        return {place: curves[place] for place in shown if place in curves}

    def table(self, notes: bool = True) -> Table:
        """For the terminal: a row for each detector, a column for each set and each group's average.

        Arguments:
            notes: Whether the notes stand below the table; they have been said where it ends an evaluation.
        """
        return display.terminal(self.rows, self.skipped, self.tuning, self.notes if notes else ())

    def __repr__(self) -> str:
        return display.summary(self.rows, self.notes)

    def _repr_html_(self) -> str:
        return display.html(self.rows, self.skipped, self.notes)
