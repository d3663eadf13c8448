"""Making one run of a matrix: trained, or trained further, and measured."""

from __future__ import annotations

import time
import traceback
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import product
from typing import Any, get_type_hints

from ..contents import misfit
from ..data.benchmark import open_groups
from ..data.imageset import ImageSet
from ..data.set_record import load_sets
from ..data.sources import reopen
from ..devices import resolve_device
from ..errors import OutskirtsError
from ..evaluation.evaluate import asked_for
from ..evaluation.evaluate_run import evaluate_run
from ..evaluation.task import by_name
from ..files import digest, load_json, save_json
from ..locking import InUse, only_writer
from ..renamed import as_before
from ..training.loop import Interrupted
from ..training.run import Run
from ..training.train import resume, train
from ..training.validation import validation_beside, with_validation
from .jobs import Job

__all__ = ["Record", "finished", "forget_images", "open_all", "opened", "record", "run_job", "training_images"]

#: Options that may be left to the machine.
_CHOSEN = ("precision", "device")


@dataclass(frozen=True)
class Record:
    """What became of a run.

    Arguments:
        trained: With what; a digest of its options.
        seconds: Seconds that all processes have worked on it.
        measured: With what it was measured; a digest of the job, empty if it was not measured.
        failure: Why it failed, if it did.
        traceback: Where it failed, if it did.
    """

    trained: str = ""
    seconds: float = 0.0
    measured: str = ""
    failure: str = ""
    traceback: str = ""


def record(job: Job) -> Record:
    """What became of a run so far."""
    if not job.record.is_file():
        return Record()
    known = load_json(job.record, {str: Any})
    # What an earlier version did not know yet has its default.
    kinds = {name: kind for name, kind in get_type_hints(Record).items() if name in known}
    if clause := misfit(known, kinds):
        raise OutskirtsError(f"{job.record} is damaged: {clause}.")
    return Record(**{name: known[name] for name in kinds})


def finished(job: Job) -> bool:
    """Whether a run is there, and was measured as it is asked now."""
    measured = record(job).measured
    alike = measured == _digest(job) or measured in map(_digest, _alike(job))
    return alike and (job.folder / "results.csv").is_file()


def run_job(job: Job) -> str:
    """Make a run, or what of it is not there; returns why that failed, or nothing.

    Whatever goes wrong in one run is written down, so that others can go on; given once more, it is tried again. A
    process that is killed leaves a checkpoint, which the next call goes on from. What another process makes is left to
    it.

    Raises:
        OutskirtsError: If the folder is of a run with other options.
    """
    try:
        # Of a file in its place, the training will tell.
        with nullcontext() if job.folder.is_file() else only_writer(job.folder):
            return "" if _up_to_date(job) else _made(job)
    except InUse as error:
        return str(error)


def _made(job: Job) -> str:
    known, trained = record(job), _training_digest(job)
    if known.trained not in ("", trained, *map(_training_digest, _alike(job))):
        raise OutskirtsError(f"{job.folder} was trained with other options; choose another --out, or remove it.")
    known = replace(known, trained=trained, measured="", failure="", traceback="")
    save_json(job.record, asdict(known))
    start = time.monotonic()
    measured = failure = trace = ""
    try:
        _measure(job, _trained(job))
        measured = _digest(job)
    except Interrupted as stop:
        raise Interrupted(f"Stopped in {job.folder.name}. Give the same command again to continue.") from stop
    except Exception as error:  # It may be a plug-in's, and of any kind.
        failure, trace = f"{type(error).__name__}: {error}", traceback.format_exc()
    finally:
        spent = known.seconds + time.monotonic() - start
        save_json(job.record, asdict(Record(trained, spent, measured, failure, trace)))
    return failure


def _up_to_date(job: Job) -> bool:
    return finished(job) and not _images_changed(job)


def _images_changed(job: Job) -> bool:
    """Whether the specs of a finished job open other images now than those that it was trained and measured on."""
    try:
        open_all(job)
    except OutskirtsError:
        return False  # They are gone, and what was measured on them stays.
    run = Run(job.folder)
    try:
        images, val_images = with_validation(*training_images(job), run.recipe().training, run.known_sets())
        measured = by_name(opened(job.sets["test"]), open_groups(job.ood, opened), images.classes)
        now = {"training": images, "validation": val_images, **measured}
    except OutskirtsError:
        return True  # They have other classes, of which the measurement will tell.
    known = {**load_sets(run.data), **load_sets(run.measured)}
    return any(known[name].difference(images) for name, images in now.items() if name in known)


def _alike(job: Job) -> list[Job]:
    """The jobs that make the same run as is there: ``auto``, and what it chose there, stand for each other.

    The command that a page prints names what was chosen.
    """
    try:
        chosen = Run.open(job.folder).options()
    except OutskirtsError:
        return []  # It was hardly begun, or is damaged, of which the run itself will tell.
    asked = {name: job.options[name] for name in _CHOSEN if job.options.get(name) in ("auto", chosen.get(name))}
    alike = product(*(("auto", chosen.get(name)) for name in asked))
    return [replace(job, options={**job.options, **dict(zip(asked, values))}) for values in alike]


def _training_digest(job: Job) -> str:
    options = as_before(job.options)
    return digest(job.method, *(f"{name} {options[name]}" for name in sorted(options)))


def _digest(job: Job) -> str:
    about = {**job.to_json(), "folder": ""}
    return digest(*(f"{name} {about[name]}" for name in sorted(about)))


def _specs(job: Job) -> list[str]:
    outliers = [spec for sets in job.ood.values() for spec in sets.values()]
    return [*job.sets.values(), *([job.tune_on] if job.tune_on else []), *outliers]


def _trained(job: Job) -> Run:
    run = Run(job.folder)
    if run.config.is_file():
        return run if run.model.is_file() else resume(job.folder)
    open_all(job)  # What cannot be opened shall be known before hours of training.
    options = {name: value for name, value in job.options.items() if name not in ("data", "val")}
    return train(job.method, *training_images(job), out=job.folder, **options)


def open_all(job: Job) -> None:
    """Open all sets of a job, which are kept open then; an error if one of them is not there."""
    for spec in _specs(job):
        opened(spec)


def training_images(job: Job) -> tuple[ImageSet, ImageSet | None]:
    """The training images of a job, and its validation images unless they are set aside."""
    images = opened(job.sets["train"])
    return images, opened(job.sets["val"]) if "val" in job.sets else validation_beside(images)


def _measure(job: Job, run: Run) -> None:
    training = run.recipe().training
    evaluate_run(
        run,
        opened(job.sets["test"]),
        open_groups(job.ood, opened),
        asked_for(job.detectors),
        # What trained faster in half precision is measured faster in it, too.
        precision="bf16" if training.precision == "bf16" else "fp32",
        device=resolve_device(training.device).type,
        skip_corrupt=training.skip_corrupt,
        tune=opened(job.tune_on) if job.tune_on else "own",
    )


def forget_images() -> None:
    """Open all sets anew from now on: their files may have changed."""
    opened.cache_clear()


@lru_cache(maxsize=32)
def opened(spec: str) -> ImageSet:
    """A set, opened once in a process: its files are listed, and told from those of others, only then."""
    return reopen(spec)
