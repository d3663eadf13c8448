"""Evaluate a run folder: every image once through the network, then every detector from what that left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from ..arguments import check_arguments
from ..data.benchmark import Benchmark, how_to_fetch, load_benchmark, open_groups
from ..data.imageset import ImageSet
from ..data.set_record import save_sets
from ..data.sources import open as open_images
from ..data.sources import reopen
from ..detectors import Detector
from ..devices import resolve_device
from ..errors import OutskirtsError
from ..extraction.forward import PassOptions
from ..extraction.outputs import Outputs
from ..files import is_file, save_json
from ..locking import only_writer
from ..methods.preview import synthesize
from ..models.heads import Space
from ..telling import Progress, Say, nobody, silence
from ..texts import counted, verb
from ..training.run import Run
from ..training.signals import stop_requests
from .asked import Asked
from .class_accuracy import ClassAccuracy, class_accuracies, never_predicted, uneven
from .copies import copies_in_other_files
from .evaluate import evaluate, fit_able, lacking, require_any
from .misses import save_misses
from .passes import Gathered, Passes, gather
from .photographs import photographs
from .results import ID, TUNING, Results, headline
from .rows import read_rows
from .separation import require_apart
from .shareable import Shareable
from .subgroups import GroupAccuracy, group_accuracies
from .task import Task, open_task
from .tuning import Tuned, grid_of, own_outliers
from .tuning import tune as tune_detectors

__all__ = ["evaluate_run"]

#: OOD sets, or their specs, by group and name.
Groups: TypeAlias = Mapping[str, Mapping[str, ImageSet | str | Path]]


@check_arguments
def evaluate_run(
    run: Run | Path | str,
    test: ImageSet | str | Path | None = None,
    ood: Groups | None = None,
    detectors: Literal["all"] | Iterable[str | Detector | Mapping[str, Any]] = "all",
    *,
    benchmark: str | Path | Benchmark | None = None,
    features: Space = "head",
    precision: Literal["fp32", "bf16"] = "fp32",
    keep: Literal["fp32", "fp16"] = "fp32",
    device: str = "auto",
    skip_corrupt: bool = False,
    tune: ImageSet | str | Path | None = None,
    tune_passes: bool = False,
    say: Say = silence,
    progress: Progress = nobody,
) -> Results:
    """Measure how well a run detects OOD images; `outskirts.report` makes a page of what this leaves in its folder.

    Writes ``outputs/``, ``results.csv`` in the place of an earlier one, ``scores.safetensors``, ``evaluation.json``,
    ``notes.json`` and ``gallery/``. Where the test images have labels, ``classes.json`` has the accuracy of each class.
    Where something else is known of them, ``groups.json`` has the accuracy where it meets each class.

    Arguments:
        run: A finished run, or its folder.
        test: ID test images of the run's classes, or their spec.
        ood: OOD sets, or their specs, by group and name; those of the group ``shifted`` are ID images, see
            `outskirts.evaluation.set_groups`.
        benchmark: A benchmark, its name, or its YAML file, in the place of `test` and `ood`.
        detectors: ``"all"``, or names, mappings such as ``{"name": "knn", "k": 10}`` and detectors. Those that the
            network cannot serve, or that cannot be fitted on the run's images, are left out, whether they were asked
            for by name or not; `Results.skipped` says why.
        features: Features that detectors see: the input of the linear layer (``head``), the output of the backbone
            (``raw``), or points on the hypersphere (``projection``); see `extract`.
        precision: Precision of the network.
        keep: Precision of the features that are stored; ``fp16`` halves the space for sets of millions of images.
        device: Device of the network: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        skip_corrupt: Leave out images that cannot be decoded.
        tune: OOD validation images, or their spec, none of them in a test set, on which to choose the parameters that
            are not given; or ``own``, for outliers made of the run's validation images.
        tune_passes: Also choose parameters of which each takes a pass over the validation images and outliers, those of
            ``odin`` and ``iodin``.
        say: Told in sentences what is done.
        progress: Told of the images forwarded.

    Raises:
        OutskirtsError: If a set is empty, an OOD set overlaps the ID images, or the run cannot be read; if both sets
            and a benchmark are given, or neither; if no detector can be computed, or another process writes to the run.
            Earlier results are kept then.
    """
    if tune_passes and tune is None:
        raise OutskirtsError("Passes to choose parameters need images to choose on: --tune or --tune-on SPEC.")
    run = Run.open(run)
    known, sets = _sets(test, ood or {}, benchmark)
    outliers = open_images(tune) if tune is not None and tune != "own" else None
    options = PassOptions(precision, keep, resolve_device(device), skip_corrupt=skip_corrupt)
    detectors = detectors if isinstance(detectors, str) else list(detectors)
    asked = Asked.of(known, sets, benchmark, detectors, features, options, "own" if tune == "own" else outliers)
    with only_writer(run.path):
        task = open_task(run, known, sets, detectors, options)
        passes = Passes(task.classifier, run.outputs, features, options, task.notes, say, progress)
        gathered = gather(task, passes, tuned=tune is not None)
        task.notes.extend(copies_in_other_files(task))
        classes = _classes(task, passes, gathered)
        described = task.recipe.method if features == "head" else f"{task.recipe.method} ({features} features)"
        about = {"run": run.path.name, "method": described, "seed": task.recipe.training.seed}
        tuned = Tuned({}, ()) if tune is None else _tune(task, passes, gathered, outliers, about, tune_passes)
        if tune_passes:
            task = replace(task, detectors={**task.detectors, **tuned.detectors})
            gathered = replace(gathered, sets=_again(task, passes, gathered))
        results = _score(task, gathered, {**task.detectors, **tuned.detectors}, about)
        results = replace(results, tuning=tuned.rows)
        if replaced := _replaced(run, results):
            say(replaced)
        # Of one evaluation all, even where it is asked to stop now.
        with stop_requests():
            _write(task, gathered, results, classes)
            asked.save(run)
            _write_outliers(task, passes)
    return results


def _sets(
    test: ImageSet | str | Path | None, ood: Groups, benchmark: str | Path | Benchmark | None
) -> tuple[ImageSet, dict[str, dict[str, ImageSet]]]:
    """The ID test images, and the OOD sets by group and name."""
    if benchmark is not None:
        if test is not None or ood:
            raise OutskirtsError(
                "Pass either a benchmark or a test set with OOD sets (--benchmark or --test), not both."
            )
        chosen = load_benchmark(benchmark)
        try:
            return reopen(chosen.test), open_groups(chosen.ood, reopen)
        except OutskirtsError as error:
            raise OutskirtsError(f"{error}{how_to_fetch(chosen)}") from error
    if test is None:
        raise OutskirtsError("Pass the in-distribution test images, or a benchmark (--test or --benchmark).")
    return open_images(test), open_groups(ood)


def _again(task: Task, passes: Passes, gathered: Gathered) -> dict[str, Outputs]:
    """The outputs of all sets, with what the chosen parameters need."""
    outputs = {name: passes.outputs(name, image_set, task.probes) for name, image_set in task.sets.items()}
    return {name: replace(one, labels=gathered.sets[name].labels) for name, one in outputs.items()}


def _tune(
    task: Task,
    passes: Passes,
    gathered: Gathered,
    outliers: ImageSet | None,
    about: dict[str, Any],
    with_passes: bool,
) -> Tuned:
    """Choose the parameters of detectors on validation images and outliers; those made of these unless given."""
    seed = task.recipe.training.seed
    if outliers is None:
        outliers = own_outliers(task.classifier, task.val, seed)
    require_apart(outliers, task.val, {**task.sets, "train": task.train})
    able = {label: one for label, one in task.detectors.items() if not lacking(one, gathered.sets[ID])}
    points = [point for one in able.values() for point in grid_of(one, with_passes)]
    probes = list({probe.key: probe for one in (*able.values(), *points) for probe in one.probes}.values())
    of_outliers = passes.outputs(TUNING, outliers, probes)
    of_val = passes.outputs("val", task.val, probes) if with_passes else gathered.val
    assert of_val is not None
    name, how = Shareable().value(outliers.spec), {"passes": with_passes, **about}
    tuned = tune_detectors(able, train=gathered.train, val=of_val, outliers=of_outliers, name=name, **how)
    passes.say(f"Parameters chosen at {counted(len(tuned.rows), 'point')} on validation images and {outliers.spec}.")
    return tuned


def _score(task: Task, gathered: Gathered, detectors: Mapping[str, Detector], about: dict[str, Any]) -> Results:
    """Fit the detectors, and measure those that can be fitted."""
    able = {label: one for label, one in detectors.items() if not lacking(one, gathered.sets[ID])}
    unfit = {**task.unfit, **fit_able(able, train=gathered.train, val=gathered.val)}
    if not able.keys() - unfit.keys():
        lacks = {label: lacking(one, gathered.sets[ID]) for label, one in detectors.items() if label not in able}
        require_any({}, {**{label: reason for label, reason in lacks.items() if reason}, **unfit})
    results = evaluate(
        gathered.sets[ID],
        {name: outputs for name, outputs in gathered.sets.items() if name != ID},
        [detector for label, detector in detectors.items() if label not in unfit],
        groups=task.groups,
        photographs=photographs({name: _without_skipped(images) for name, images in task.sets.items()}),
        **about,
    )
    return replace(results, skipped={**results.skipped, **unfit})


def _replaced(run: Run, results: Results) -> str | None:
    """What is said of earlier results that the new ones replace without measuring all of them again."""
    table = run.path / "results.csv"
    try:
        before = [row for row in read_rows(table) if row.group != TUNING] if is_file(table) else []
    except OutskirtsError:  # A damaged table is no loss.
        return None
    again = {(row.detector, row.params, row.group, row.dataset) for row in results.rows}
    lost = sum((row.detector, row.params, row.group, row.dataset) not in again for row in before)
    if not lost:
        return None
    return (
        f"The new results replace the {counted(len(before), 'row')} of {table}; {lost} of them {verb(lost, 'are')} not "
        "measured again. To have all in one table, name all detectors and all sets in one call."
    )


def _classes(task: Task, passes: Passes, gathered: Gathered) -> list[ClassAccuracy] | None:
    """The accuracy of each class, if the test images have labels; what a reader should know of it is told."""
    outputs = gathered.sets[ID]
    if outputs.labels is None:
        return None
    classes = class_accuracies(outputs, task.classifier.classes)
    if missed := never_predicted(classes):
        passes.note(missed)
    if differ := uneven(classes):
        passes.say(differ)
    return classes


def _write(task: Task, gathered: Gathered, results: Results, classes: Sequence[ClassAccuracy] | None) -> None:
    """Leave in the run folder what was measured, and the images that were told worst."""
    run, outputs = task.run, gathered.sets
    results.save(run.path)
    save_json(run.path / "notes.json", Shareable(task.recipe.flat()).value(task.notes))
    save_sets(run.measured, task.sets)
    sets = {name: _without_skipped(image_set) for name, image_set in task.sets.items()}
    _write_records(run.path / "classes.json", classes)
    _write_records(run.path / "groups.json", _groups(outputs[ID], sets[ID]))
    shown = headline(list(results.scores), task.published)
    if shown is not None:
        save_misses(run.gallery, shown, results.scores[shown], sets, outputs, task.classifier.classes)


def _write_outliers(task: Task, passes: Passes) -> None:
    """Leave a picture of outliers as the method would make them at the end of its training."""
    training = task.recipe.training
    # The pass has been made before; these come from the store.
    features = passes.raw(task.train) if task.fills_queue else None
    synthesize(
        task.method.cpu(),
        task.train.limit(24, training.seed),
        task.run.gallery,
        features=features,
        seed=training.seed,
        epoch=max(1, training.epochs),
        epochs=max(1, training.epochs),
        skip_corrupt=passes.options.skip_corrupt,
    )


def _groups(outputs: Outputs, test: ImageSet) -> list[GroupAccuracy] | None:
    if test.attribute is None or outputs.labels is None:
        return None
    return group_accuracies(outputs, test.classes, test.attribute)


def _write_records(file: Path, records: Sequence[ClassAccuracy | GroupAccuracy] | None) -> None:
    """Write what was measured in the place of what an earlier evaluation left; without, nothing stays."""
    if records is None:
        file.unlink(missing_ok=True)
    else:
        save_json(file, [asdict(record) for record in records])


def _without_skipped(image_set: ImageSet) -> ImageSet:
    """The images that outputs have rows of."""
    skipped = set(image_set.skipped)
    return (
        image_set.subset([i for i in range(len(image_set)) if image_set.name(i) not in skipped])
        if skipped
        else image_set
    )
