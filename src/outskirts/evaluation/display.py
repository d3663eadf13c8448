"""How results are shown: in a line, in a terminal, in a notebook."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import isclose
from typing import TYPE_CHECKING

from .. import notebook
from ..texts import counted
from .rows import MEAN, Result, headline, labels
from .set_groups import is_full_spectrum, is_ood

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["first", "html", "plain", "summary", "terminal", "told_apart"]

Rows = Sequence[Result]

#: Detectors' labels up to this length are never folded, whatever that leaves for the numbers.
_WIDEST = 24

#: Runs that a summary has a line for.
_RUNS = 6

_READING = "First line: AUROC ± the wider half of its 95 % interval. Second line: FPR95, ID|OOD as positive. All in %."

_PERFECT = (
    "100.0 without an error: ± is then the error rate that is still possible after N images without an error, N being "
    "the number of images in the smallest set. It is wide for few images."
)


def summary(rows: Rows, notes: Sequence[str] = ()) -> str:
    """How much there is; for each run the AUROC and the FPR95 of `first` on the average of each group, and the accuracy
    on ID images; and the notes.

    >>> summary(())
    'Results(empty)'
    """
    if not rows:
        return "Results(empty)"
    lines = [f"Results({_extent(rows)})"]
    runs = list(dict.fromkeys(row.run for row in rows))
    for run in runs[:_RUNS]:
        of_run = _by_detector([row for row in rows if row.run == run])
        label = first(list(of_run), ())
        told = [
            f"{group} AUROC {_interval(row, 'auroc')}, FPR95 {_percent(row.fpr95)} %"
            for (group, dataset), row in of_run[label].items()
            if is_ood(group) and dataset == MEAN
        ]
        name = f"{run}/{label}" if len(runs) > 1 else label
        told += _accuracies([row for row in rows if row.run == run])
        lines += [f"  {name}: {'; '.join(told)}"] if told else []
    if len(runs) > _RUNS:
        lines.append(f"  and {len(runs) - _RUNS} more runs")
    return "\n".join([*lines, *(f"  Note: {note}" for note in notes)])


def terminal(rows: Rows, skipped: Mapping[str, str], tuning: Rows, notes: Sequence[str] = ()) -> Table:
    """A row for each detector, a column for each set and each group's average."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    caption = _below(rows, skipped)
    if tuning:
        points = Counter(row.detector for row in tuning)
        tuned = ", ".join(name for name, count in points.items() if count > 1)
        by = ", ".join(dict.fromkeys(row.dataset for row in tuning))
        chosen = f"the parameters of {tuned}" if tuned else "no parameter, as these detectors have none to choose"
        caption.append(f"Chosen on validation images and {by}: {chosen}.")
    caption += notes
    runs = list(dict.fromkeys(row.run for row in rows))
    title = f"Run {runs[0]}" if len(runs) == 1 and runs[0] else None
    table = Table(box=SIMPLE_HEAD, padding=0, show_edge=False, title=title, title_justify="left")
    table.caption, table.caption_justify = "\n".join(caption), "left"
    columns, by_detector = _columns(rows), _by_detector(rows)
    width = max(map(len, ["detector", *by_detector]))
    table.add_column("detector", overflow="fold", no_wrap=width <= _WIDEST)
    for group, dataset in columns:
        table.add_column(f"{group}\n{dataset}", justify="right", overflow="fold")
    for label, cells in by_detector.items():
        table.add_row(label, *(_cell(cells.get(column)) for column in columns))
    return table


def html(rows: Rows, skipped: Mapping[str, str], notes: Sequence[str] = ()) -> str:
    """The same table as in a terminal, as HTML."""
    if not rows:
        return notebook.table("Results: empty", [])
    columns = _columns(rows)
    return notebook.table(
        f"Results: {_extent(rows)}",
        [(label, *(_cell(cells.get(column)) for column in columns)) for label, cells in _by_detector(rows).items()],
        header=["detector", *(f"{group}\n{dataset}" for group, dataset in columns)],
        notes=[*_below(rows, skipped), *notes],
    )


def told_apart(rows: Rows) -> tuple[str, ...]:
    """What labels of detectors may begin with to name their run, ``"run/"``."""
    return tuple(dict.fromkeys(f"{row.run}/" for row in rows))


def first(labels: Sequence[str], prefixes: Sequence[str]) -> str:
    """The detector that a summary speaks of, by its label: ``msp`` if it is there, which no test set has chosen.

    Arguments:
        labels: Labels, at least one.
        prefixes: What they may begin with, of `told_apart`.
    """
    labeled = {plain(label, prefixes): label for label in reversed(labels)}
    chosen = headline(list(reversed(labeled)), ())
    assert chosen is not None
    return labeled[chosen]


def plain(label: str, prefixes: Sequence[str]) -> str:
    """The label without its run."""
    return next((label.removeprefix(prefix) for prefix in prefixes if label.startswith(prefix)), label)


def _extent(rows: Rows) -> str:
    """How many runs, detectors and sets there are."""
    runs = len({row.run for row in rows})
    detectors = len({(row.detector, row.params) for row in rows})
    sets = len({row.dataset for row in rows if row.dataset != MEAN})
    return ", ".join(counted(n, noun) for n, noun in ((runs, "run"), (detectors, "detector"), (sets, "set")))


def _below(rows: Rows, skipped: Mapping[str, str]) -> list[str]:
    """What stands below a table: how its numbers are read, the accuracies, and which detectors were left out."""
    reading = [_READING, *([_PERFECT] if any(row.auroc in (0, 1) for row in rows) else [])]
    runs = list(dict.fromkeys(row.run for row in rows))
    accuracies = [
        f"{run}: {told}." if len(runs) > 1 else f"{told}."
        for run in runs
        for told in _accuracies([row for row in rows if row.run == run])
    ]
    return [*reading, *accuracies, *(f"Left out: {label}, which {reason}." for label, reason in skipped.items())]


def _accuracies(rows: Rows) -> list[str]:
    """The accuracy of one run on the ID test images, and with shifted ones if there are some; none without labels.

    The balanced accuracy is the same where all classes have as many images, and is then left out.
    """
    kinds = {is_full_spectrum(row.group): row for row in reversed(rows) if row.id_accuracy is not None}
    told = []
    for shifted, row in sorted(kinds.items()):
        which = "ID and shifted images" if shifted else "ID images"
        text = f"accuracy on {row.n_id:,} {which} {_interval(row, 'id_accuracy')}"
        if row.id_balanced_accuracy is not None and not isclose(row.id_balanced_accuracy, row.id_accuracy or 0):
            text += f", balanced accuracy {_interval(row, 'id_balanced_accuracy')}"
        told.append(text)
    return told


def _interval(row: Result, column: str) -> str:
    """A rate with its interval, which tables of earlier versions may lack."""
    value, low, high = (getattr(row, column + end) for end in ("", "_lo", "_hi"))
    return f"{_percent(value)} %" + ("" if low is None else f" [{_percent(low)}, {_percent(high)}]")


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _columns(rows: Rows) -> list[tuple[str, str]]:
    """Group and dataset of each column: a group's average first, if it has more than one set."""
    groups: dict[str, dict[str, None]] = {}
    for row in rows:
        groups.setdefault(row.group, {})[row.dataset] = None
    return [
        (group, dataset)
        for group, datasets in groups.items()
        for dataset in sorted(datasets, key=lambda name: name != MEAN)
        if dataset != MEAN or len(datasets) != 2
    ]


def _by_detector(rows: Rows) -> dict[str, dict[tuple[str, str], Result]]:
    """The rows by the detector's label, which names the run if there are several, and by column."""
    runs: dict[str, list[Result]] = {}
    for row in rows:
        runs.setdefault(row.run, []).append(row)
    table: dict[str, dict[tuple[str, str], Result]] = {}
    for run, own in runs.items():
        distinct = list(dict.fromkeys((row.detector, row.params) for row in own))
        label = dict(zip(distinct, labels(distinct)))
        for row in own:
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
