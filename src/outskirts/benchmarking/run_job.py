"""Making one run of a matrix: trained, or trained further, and measured."""

from __future__ import annotations

import shutil
import time
import traceback
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

from ..data.imageset import ImageSet
from ..data.sources import open as open_images
from ..devices import resolve_device
from ..errors import OutskirtsError
from ..evaluation.evaluate import asked_for
from ..evaluation.evaluate_run import assess
from ..files import digest, load_json, save_json
from ..training.loop import Interrupted
from ..training.run import Run
from ..training.train import resume, train
from .jobs import Cell

__all__ = ["Record", "finished", "record", "run_cell"]


@dataclass(frozen=True)
class Record:
    """What became of a run.

    Arguments:
        trained: With what; a digest of its options.
        seconds: That all processes have worked on it.
        measured: As what; a digest of the cell, empty if it is not.
        failure: Why it failed, if it did.
        traceback: Where.
    """

    trained: str = ""
    seconds: float = 0.0
    measured: str = ""
    failure: str = ""
    traceback: str = ""


def record(cell: Cell) -> Record:
    """What became of a run so far."""
    return Record(**load_json(cell.record)) if cell.record.is_file() else Record()


def finished(cell: Cell) -> bool:
    """Whether a run is there, and was measured as it is asked now."""
    return record(cell).measured == _digest(cell) and (cell.folder / "results.csv").is_file()


def run_cell(cell: Cell) -> str:
    """Make a run, or what of it is not there; returns why that failed, or nothing.

    Whatever goes wrong in one run is written down, so that others can go on; given once more, it is tried again. A
    process that is killed leaves a checkpoint, which the next call goes on from.

    Raises:
        OutskirtsError: If the folder is of a run with other options.
    """
    if finished(cell):
        return ""
    known = record(cell)
    # Runs of before there was an option are those of today without it.
    named = sorted(name for name, value in cell.options.items() if (name, value) != ("compile", False))
    options = digest(cell.method, *(f"{name} {cell.options[name]}" for name in named))
    if known.trained not in ("", options):
        raise OutskirtsError(f"{cell.folder} was trained with other options; choose another --out, or remove it.")
    known = replace(known, trained=options, measured="", failure="", traceback="")
    save_json(cell.record, asdict(known))
    start = time.monotonic()
    measured = failure = trace = ""
    try:
        _measure(cell, _trained(cell))
        measured = _digest(cell)
    except Interrupted as stop:
        raise Interrupted(f"Stopped in {cell.folder.name}; go on by the same command once more.") from stop
    except Exception as error:  # It may be a plug-in's, and of any kind.
        failure, trace = f"{type(error).__name__}: {error}", traceback.format_exc()
    finally:
        spent = known.seconds + time.monotonic() - start
        save_json(cell.record, asdict(Record(options, spent, measured, failure, trace)))
    return failure


def _digest(cell: Cell) -> str:
    about: dict[str, Any] = {**asdict(cell), "folder": ""}
    return digest(*(f"{name} {about[name]}" for name in sorted(about)))


def _specs(cell: Cell) -> list[str]:
    named = [*cell.sets.values(), cell.tune_on, *(spec for sets in cell.ood.values() for spec in sets.values())]
    return [spec for spec in named if spec]


def _trained(cell: Cell) -> Run:
    run = Run(cell.folder)
    if run.config.is_file():
        return run if run.model.is_file() else resume(cell.folder)
    for spec in _specs(cell):  # What cannot be opened shall be known before hours of training.
        _opened(spec)
    # Whoever began was stopped before the options were written, the first that is needed to go on.
    shutil.rmtree(cell.folder, ignore_errors=True)
    options = {name: value for name, value in cell.options.items() if name not in ("data", "val")}
    val = _opened(cell.sets["val"]) if cell.sets["val"] else None
    return train(cell.method, _opened(cell.sets["train"]), val, out=cell.folder, **options)


def _measure(cell: Cell, run: Run) -> None:
    training = run.recipe().training
    assess(
        run,
        _opened(cell.sets["test"]),
        {group: {name: _opened(spec) for name, spec in members.items()} for group, members in cell.ood.items()},
        asked_for(cell.detectors),
        # What trained faster in half precision is measured faster in it, too.
        precision="bf16" if training.precision == "bf16" else "fp32",
        device=resolve_device(training.device).type,
        skip_corrupt=training.skip_corrupt,
        tune=_opened(cell.tune_on) if cell.tune_on else "own",
    )


@lru_cache(maxsize=32)
def _opened(spec: str) -> ImageSet:
    """A set, opened once in a process: its files are listed, and told from those of others, only then."""
    return open_images(spec)
