"""What was measured of a guard, as a table on a terminal and as files for other programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from ..evaluation.csv_cells import guarded
from ..evaluation.selective import RiskCoverage
from ..files import make_folder, save_json, write_text
from .measured import Measured, Share

__all__ = ["COLUMNS", "NUMBERS", "rows", "save_numbers", "table", "thinned", "to_json"]

#: Columns of the CSV file: the measure, the group and the set that it is of, or the predicted class; the images that
#: it counts, how many of them count, the value, and its 95 % interval.
COLUMNS = ("measure", "group", "set", "n", "count", "value", "lo", "hi")

Row = tuple[str, str, str, int | None, int | None, float, float | None, float | None]

#: Endings of the files of numbers beside a page.
NUMBERS = (".csv", ".json")

#: Points of a curve that are kept.
_POINTS = 200
_PROMISED = "Promised: where the share of a test set of so many images lies in 95 % of cases, if all are alike."
#: Classes that the terminal shows.
_CLASSES = 20


def save_numbers(measured: Measured, page: Path) -> None:
    """Write the numbers beside a page: ``.csv`` has the shares and areas, ``.json`` also the curves."""
    make_folder(page.parent)
    text = io.StringIO()
    cells = [[guarded(cell) if isinstance(cell, str) else cell for cell in row] for row in rows(measured)]
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *cells])
    write_text(page.with_suffix(".csv"), text.getvalue())
    save_json(page.with_suffix(".json"), to_json(measured))


def rows(measured: Measured) -> Iterator[Row]:
    """All shares and areas, in the order of `COLUMNS`."""
    yield _row("accepted", measured.accepted)
    yield from (_row("accepted of predicted class", share, of=name) for name, share in measured.classes.items())
    for one in measured.rejected:
        yield _row("rejected", one.share, one.group, one.name)
        yield "auroc", one.group, one.name, one.share.n, None, one.auroc, one.auroc_lo, one.auroc_hi
    if (correct := measured.correct) is None:
        return
    yield _row("accuracy", correct.all)
    for name, share in (("accepted", correct.accepted), ("rejected", correct.rejected)):
        if share is not None:
            yield _row(f"accuracy of {name}", share)
    n = correct.all.n
    yield from ((f"aurc by {name}", "", "", n, None, area, None, None) for name, area in correct.aurc.items())
    for name, bins in correct.reliability.items():
        yield f"ece of {name}", "", "", int(bins.counts.sum()), None, bins.error, None, None


def _row(measure: str, share: Share, group: str = "", of: str = "") -> Row:
    return measure, group, of, share.n, share.count, share.value, share.lo, share.hi


def to_json(measured: Measured) -> dict[str, Any]:
    """All numbers, with the promises and the curves, for a JSON file."""
    correct = measured.correct
    return {
        "guard": dict(measured.about),
        "as_promised": measured.as_promised,
        "verdict": measured.verdict(),
        "rejections": measured.rejections() if measured.of_others else None,
        "thresholds": [
            {
                "classes": list(one.classes),
                "accepted": _share(one.share),
                "promised": {"expected": one.promise.expected, "range": list(one.promise.range)},
                "range_of_test": list(one.range),
                "p_value": one.p_value,
            }
            for one in measured.thresholds
        ],
        "numbers": [dict(zip(COLUMNS, row)) for row in rows(measured)],
        "curves": {}
        if correct is None
        else {name: [column.tolist() for column in thinned(curve)] for name, curve in correct.curves.items()},
        "reliability": {}
        if correct is None
        else {
            name: {"n": bins.counts.tolist(), "confidence": _known(bins.confidence), "accuracy": _known(bins.accuracy)}
            for name, bins in correct.reliability.items()
        },
        "notes": list(measured.notes),
    }


def _share(share: Share) -> dict[str, Any]:
    return {**asdict(share), "value": share.value}


def _known(values: np.ndarray[Any, Any]) -> list[float | None]:
    """Numbers, and None where there is none, which JSON has no number for."""
    return [None if np.isnan(value) else value for value in values.tolist()]


def thinned(curve: RiskCoverage) -> RiskCoverage:
    """At most 200 points of a curve, its ends among them."""
    places = np.unique(np.linspace(0, len(curve.coverage) - 1, _POINTS).round().astype(int))
    return RiskCoverage(curve.coverage[places], curve.risk[places])


def table(measured: Measured) -> Table:
    """The shares and areas for a terminal."""
    shown = Table("", "images", "share", "95 % interval", "promised", "AUROC", box=None)
    several = len(measured.thresholds) > 1
    _line(shown, "ID test images accepted", measured.accepted, "" if several else _range(measured.thresholds[0].range))
    for one in measured.thresholds[:_CLASSES] if several else ():
        _line(shown, f"  taken for {', '.join(one.classes[:3])}", one.share, _range(one.range))
    if (correct := measured.correct) is not None:
        _line(shown, "right, of all", correct.all)
        for name in ("accepted", "rejected"):
            if (share := getattr(correct, name)) is not None:
                _line(shown, f"right, of the {name}", share)
    for row in measured.rejected:
        _line(shown, f"{row.name} ({row.group}) rejected", row.share, auroc=f"{row.auroc:.1%}")
    notes = [*measured.verdicts(), _PROMISED, *measured.notes]
    if correct is not None:
        notes.insert(
            len(measured.verdicts()),
            f"Area under the risk-coverage curve by score {correct.aurc['score']:.2%}, by confidence "
            f"{correct.aurc['confidence']:.2%}; calibration error {correct.reliability['all'].error:.1%}.",
        )
    shown.caption = "\n".join(notes)
    return shown


def _line(shown: Table, name: str, share: Share, promised: str = "", auroc: str = "") -> None:
    shown.add_row(name, f"{share.n:,}", f"{share.value:.1%}", _range((share.lo, share.hi)), promised, auroc)


def _range(bounds: tuple[float, float]) -> str:
    return f"{100 * bounds[0]:.1f} to {100 * bounds[1]:.1f}"
