"""A run folder as the report sees it: what is there is read, what is not is None."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from torch import Tensor

from ..contents import misfit
from ..data.described import described
from ..data.set_record import SetRecord, load_sets
from ..data.transform import Transform
from ..errors import OutskirtsError
from ..evaluation.asked import Asked
from ..evaluation.class_accuracy import ClassAccuracy
from ..evaluation.results import ID, MEAN, Result, Results, headline, labels
from ..evaluation.set_groups import is_full_spectrum
from ..evaluation.subgroups import GroupAccuracy
from ..figures.diagnostics import Diagnostic, Warned, diagnostics, warned
from ..files import is_file, load_json, load_yaml, reading
from ..methods import registry
from ..training.config import Recipe, resolve_recipe
from ..training.evaluating import evaluating
from ..training.run import Run

__all__ = ["RunReport", "Table"]

P = TypeVar("P", ClassAccuracy, GroupAccuracy)

#: What is told of an image that a detector is most wrong about.
_MISS = {
    **dict.fromkeys(("dataset", "detector", "kind", "image", "predicted"), str),
    **dict.fromkeys(("score", "confidence"), float),
    "label": (str, None),
}


#: What pages compute with and show, in the settings of a run.
_SETTINGS = {
    **dict.fromkeys(("method", "backbone", "device"), (str, None)),
    **dict.fromkeys(("seed", "epochs", "size"), (int, None)),
}

#: What commands are made of, in the environment of a run.
_ENVIRONMENT = {
    **dict.fromkeys(("command", "folder", "commit"), (str, None)),
    "imported": ([str], None),
    "threads": (int, None),
}


@dataclass(frozen=True)
class Table:
    """The results of one group of OOD sets: a line per detector, by its label, and in it a cell per set."""

    group: str
    datasets: tuple[str, ...]
    lines: dict[str, dict[str, Result]]


@dataclass(frozen=True)
class RunReport:
    """Everything the report shows about one run.

    Arguments:
        path: The folder.
        name: What the page calls the run; unique among the runs of one page.
    """

    path: Path
    name: str
    config: dict[str, Any]
    results: Results
    environment: dict[str, Any] | None
    metrics: list[dict[str, Any]] | None
    outliers: dict[str, Any] | None
    synthetic: dict[str, Any] | None
    misses: list[dict[str, Any]] | None
    classes: list[ClassAccuracy] | None
    groups: list[GroupAccuracy] | None
    measured: Mapping[str, SetRecord]
    transform: Transform | None
    asked: Asked

    @classmethod
    def read(cls, path: Path, name: str) -> RunReport:
        """Read a folder; only its settings and results must be there."""
        table, gallery = path / "results.csv", path / "gallery"
        if not is_file(table):
            _settings(path / "config.yaml")  # Unless it is no run at all.
            raise OutskirtsError(
                f"The run {path} has not been evaluated: {table} is missing. Evaluate it first: {evaluating(Run(path))}"
            )
        results = Results.load(path)
        if not results.rows:
            raise OutskirtsError(f"{path / 'results.csv'} holds no results: evaluate the run before reporting on it.")
        return cls(
            path=path,
            name=name,
            config=_settings(path / "config.yaml"),
            results=results,
            environment=_content(path / "environment.json", _ENVIRONMENT),
            metrics=_records(path / "metrics.jsonl"),
            outliers=_content(gallery / "outliers.json", {str: Any}),
            synthetic=_content(gallery / "synthetic.json", {str: Any}),
            misses=_entries(gallery / "misses.json", _content(gallery / "misses.json", list), _MISS),
            classes=_parts(path / "classes.json", ClassAccuracy),
            groups=_parts(path / "groups.json", GroupAccuracy),
            measured=load_sets(Run(path).measured),
            transform=_transform(Run(path).transform),
            asked=Asked.load(Run(path)),
        )

    @cached_property
    def detectors(self) -> dict[tuple[str, str], str]:
        """The label of each (detector, parameters), under which its scores are kept."""
        distinct = list(dict.fromkeys((row.detector, row.params) for row in self.results.rows))
        return dict(zip(distinct, labels(distinct)))

    @cached_property
    def recipe(self) -> Recipe:
        """What the run was trained with, or an error where its method is not installed here."""
        options = {name: value for name, value in self.config.items() if name not in ("format", "method")}
        return resolve_recipe(self.config.get("method", ""), options)

    @property
    def preprocessing(self) -> dict[str, str] | None:
        """What happened to an image before the network, by the name of each step."""
        return None if self.transform is None else described(self.transform)

    @property
    def threads(self) -> int | None:
        """How many threads the training had, where its numbers depend on that."""
        return (self.environment or {}).get("threads") if self.config.get("device") == "cpu" else None

    @property
    def headline(self) -> str:
        """The detector the summary speaks of."""
        detector = headline(list(self.detectors.values()), self._published)
        assert detector is not None
        return detector

    @cached_property
    def tables(self) -> list[Table]:
        """The results by group, the mean before the sets; that of a single set would only repeat it."""
        lines: dict[str, dict[str, dict[str, Result]]] = {}
        for row in self.results.rows:
            label = self.detectors[row.detector, row.params]
            lines.setdefault(row.group, {}).setdefault(label, {})[row.dataset] = row
        tables = []
        for group, by_detector in lines.items():
            datasets = dict.fromkeys(name for cells in by_detector.values() for name in cells if name != MEAN)
            mean = (MEAN,) if len(datasets) > 1 else ()
            tables.append(Table(group, (*mean, *datasets), by_detector))
        return tables

    @cached_property
    def diagnostics(self) -> list[Diagnostic]:
        """The charts of the training beside losses and accuracy."""
        return diagnostics(self.metrics or [])

    @property
    def notes(self) -> list[str]:
        """What a reader should know of the images, as the training and the evaluation said."""
        told = (record.get("notes", []) for record in self.metrics or [] if record["kind"] == "data")
        return list(dict.fromkeys([*(note for notes in told for note in notes), *self.results.notes]))

    @property
    def warned(self) -> list[Warned]:
        """What the training warned of."""
        return warned(self.metrics or [])

    @property
    def _published(self) -> Sequence[Mapping[str, Any]]:
        """The detectors that the run's method is published with; none if it is not installed here."""
        try:
            recipe = self.recipe
        except OutskirtsError:
            return ()
        return registry[recipe.method].detectors(recipe.settings)

    def rows_of(self, detector: str) -> list[Result]:
        """The results of one detector, by its label, on single sets, against the ID test images alone."""
        return [row for row in self._all_of(detector) if row.dataset != MEAN and not is_full_spectrum(row.group)]

    def means_of(self, detector: str) -> list[Result]:
        """The results of one detector, by its label, averaged over each group."""
        return [row for row in self._all_of(detector) if row.dataset == MEAN]

    def _all_of(self, detector: str) -> list[Result]:
        return [row for row in self.results.rows if self.detectors[row.detector, row.params] == detector]

    def curves(self, dataset: str) -> dict[str, tuple[Tensor, Tensor]]:
        """The ID and the OOD scores on one set of every detector that keeps them."""
        scores = self.results.scores
        return {name: (kept[ID], kept[dataset]) for name, kept in scores.items() if dataset in kept}


def _content(path: Path, kind: Any) -> Any:
    return load_json(path, kind) if is_file(path) else None


def _transform(path: Path) -> Transform | None:
    fields = _content(path, dict)
    try:
        return None if fields is None else Transform.from_json(fields)
    except OutskirtsError as error:
        raise OutskirtsError(f"{path} is damaged: {error}") from error


def _parts(path: Path, part: Callable[..., P]) -> list[P] | None:
    """The accuracies of parts of the test images."""
    kinds = get_type_hints(part)
    records = _entries(path, _content(path, list), kinds)
    return None if records is None else [part(*(record[name] for name in kinds)) for record in records]


def _records(path: Path) -> list[dict[str, Any]] | None:
    """The lines of the log of a training."""
    if not is_file(path):
        return None
    lines = []
    with reading(path):
        text = path.read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            lines.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise OutskirtsError(f"{path} is damaged: line {number} is not valid JSON ({error}).") from error
    return _entries(path, lines, {"kind": str, "epoch": float, "images": (int, None), "notes": ([str], None)})


def _entries(path: Path, entries: list[Any] | None, kind: dict[str, Any]) -> list[dict[str, Any]] | None:
    for number, entry in enumerate(entries or [], start=1):
        lacking = [key for key in kind if not isinstance(entry, dict) or (key not in entry and misfit(None, kind[key]))]
        if lacking:
            raise OutskirtsError(f"{path} is damaged: entry {number} lacks {', '.join(lacking)}.")
        if clause := misfit(entry, kind, f"entry {number}"):
            raise OutskirtsError(f"{path} is damaged: {clause}.")
    return entries


def _settings(path: Path) -> dict[str, Any]:
    missing = f"{path} is missing: {path.parent} is not a run folder."
    settings = load_yaml(path, missing)
    if clause := misfit(settings, _SETTINGS):
        raise OutskirtsError(f"{path} is damaged: it should map the names of settings to their values, but {clause}.")
    return settings
