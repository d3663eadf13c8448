"""Measure a classifier: every image once through the network, then every detector from what that left."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

from ..data.benchmark import Benchmark, how_to_fetch, load_benchmark, open_groups
from ..data.imageset import ImageSet
from ..data.notes import lost, notes_of
from ..data.set_record import save_sets
from ..data.sources import beside, open_split, reopen
from ..detectors import Detector
from ..errors import OutskirtsError
from ..extraction.forward import PassOptions
from ..extraction.outputs import Outputs
from ..files import is_file, save_json
from ..locking import only_writer
from ..methods.preview import synthesize
from ..models.heads import Space
from ..telling import Progress, Say
from ..texts import counted, verb
from ..training.run import Run
from ..training.signals import stop_requests
from ..training.validation import few
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
from .set_names import require_set_names
from .shareable import Shareable
from .subgroups import GroupAccuracy, group_accuracies
from .subject import Subject
from .task import Task, open_task
from .tuning import Tuned, grid_of, own_outliers
from .tuning import tune as tune_detectors

__all__ = ["Groups", "Options", "measure", "test_or_beside"]

#: OOD sets, or their specs, by group and name.
Groups: TypeAlias = Mapping[str, Mapping[str, ImageSet | str | Path]]


@dataclass(frozen=True)
class Options:
    """How a classifier is measured; see `outskirts.evaluation.evaluate_run.evaluate_run`.

    Arguments:
        features: Features that detectors see.
        forward: How images go through the network.
        tune: OOD validation images on which to choose parameters, or ``own``; None to choose none.
        tune_passes: Whether to choose those, too, of which each takes a pass over the images.
        say: Told in sentences what is done.
        progress: Told of the images forwarded.
    """

    features: Space
    forward: PassOptions
    tune: ImageSet | Literal["own"] | None
    tune_passes: bool
    say: Say
    progress: Progress

    @classmethod
    def of(
        cls,
        features: Space,
        forward: PassOptions,
        tune: ImageSet | str | Path | None,
        tune_passes: bool,
        say: Say,
        progress: Progress,
    ) -> Self:
        """The same, the images that parameters are chosen on opened."""
        if tune_passes and tune is None:
            raise OutskirtsError("Passes to choose parameters need images to choose on: --tune or --tune-on SPEC.")
        images: ImageSet | Literal["own"] | None = (
            "own" if tune == "own" else None if tune is None else open_split(tune, "val")
        )
        return cls(features, forward, images, tune_passes, say, progress)


def measure(
    run: Run,
    opened: Callable[[], Subject],
    test: ImageSet | str | Path | None,
    ood: Groups,
    benchmark: str | Path | Benchmark | None,
    detectors: Literal["all"] | Iterable[str | Detector | Mapping[str, Any]],
    options: Options,
) -> Results:
    """Measure a classifier, and write what was measured into the folder of its run.

    Arguments:
        run: The folder; it is begun where it is new.
        opened: Opens what is measured, once nobody else writes to the folder.
        test: ID test images, or their spec.
        ood: OOD sets, or their specs, by group and name.
        benchmark: A benchmark in the place of both.
        detectors: Those that are asked for.
        options: How they are measured.
    """
    known, sets = _sets(test, ood, benchmark)
    detectors = detectors if isinstance(detectors, str) else list(detectors)
    asked = Asked.of(
        known, sets, benchmark, detectors, options.features, options.forward, options.tune, options.tune_passes
    )
    with only_writer(run.path):
        subject = opened()
        task = open_task(subject, known, sets, detectors, options.forward)
        passes = Passes(
            task.classifier, run.outputs, options.features, options.forward, task.notes, options.say, options.progress
        )
        tuning = {TUNING: options.tune} if isinstance(options.tune, ImageSet) else {}
        for note in notes_of({"training images": task.train, "validation images": task.val, **tuning, **task.sets}):
            passes.note(note)
        gathered = gather(task, passes, tuned=options.tune is not None)
        task.notes.extend(copies_in_other_files(task))
        classes = _classes(task, passes, gathered)
        described = subject.label if options.features == "head" else f"{subject.label} ({options.features} features)"
        about = {"run": run.path.name, "method": described, "seed": subject.seed}
        tune, again = options.tune, options.tune_passes
        tuned = Tuned({}, ()) if tune is None else _tune(task, passes, gathered, tune, about, again)
        if again:
            task = replace(task, detectors={**task.detectors, **tuned.detectors})
            gathered = replace(gathered, sets=_again(task, passes, gathered))
        results = _score(task, gathered, {**task.detectors, **tuned.detectors}, about)
        for note in lost(_looked_at(task, tuning), task.classifier.transform):
            passes.note(note)
        notes = tuple(Shareable(subject.options).value(task.notes))
        results = replace(results, tuning=tuned.rows, notes=notes)
        if replaced := _replaced(run, results):
            options.say(replaced)
        # Of one evaluation all, even where it is asked to stop now.
        with stop_requests():
            subject.begin()
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
        require_set_names(chosen.ood)
        try:
            return reopen(chosen.test), open_groups(chosen.ood, reopen)
        except OutskirtsError as error:
            raise OutskirtsError(f"{error}{how_to_fetch(chosen)}") from error
    if test is None:
        raise OutskirtsError("Pass the in-distribution test images, or a benchmark (--test or --benchmark).")
    require_set_names(ood)
    return open_split(test, "test"), open_groups(ood, partial(open_split, split="test"))


def test_or_beside(
    test: ImageSet | str | Path | None, benchmark: str | Path | Benchmark | None, data: str | None, say: Say
) -> ImageSet | str | Path | None:
    """The ID test images that are asked for; where none are, those that lie beside the training images, if any do.

    Arguments:
        test: ID test images, or their spec.
        benchmark: A benchmark that names some.
        data: The canonical text of the training images.
        say: Told where they were found.
    """
    if test is not None or benchmark is not None or (found := beside(data, "test")) is None:
        return test
    say(f"Test images: {found.spec}, beside the training images.")
    return found


def _looked_at(task: Task, tuning: Mapping[str, ImageSet]) -> dict[str, ImageSet]:
    """The sets that went through the network, by what they are called; of its own, the training of a run has told."""
    own = {"training images": task.train, "validation images": task.val} if task.subject.given is not None else {}
    return {**own, **{f"images of {name}": images for name, images in {**task.sets, **tuning}.items()}}


def _again(task: Task, passes: Passes, gathered: Gathered) -> dict[str, Outputs]:
    """The outputs of all sets, with what the chosen parameters need."""
    outputs = {name: passes.outputs(name, image_set, task.probes) for name, image_set in task.sets.items()}
    return {name: replace(one, labels=gathered.sets[name].labels) for name, one in outputs.items()}


def _tune(
    task: Task,
    passes: Passes,
    gathered: Gathered,
    tune: ImageSet | Literal["own"],
    about: dict[str, Any],
    with_passes: bool,
) -> Tuned:
    """Choose the parameters of detectors on validation images and outliers; those made of these unless given."""
    outliers = (
        own_outliers(task.classifier, task.val, task.subject.seed, passes.options.skip_corrupt)
        if isinstance(tune, str)
        else tune
    )
    task.notes.extend(require_apart(outliers, task.val, {**task.sets, "train": task.train}, task.run))
    able = {label: one for label, one in task.detectors.items() if not lacking(one, gathered.sets[ID])}
    points = [point for one in able.values() for point in grid_of(one, with_passes)]
    probes = list({probe.key: probe for one in (*able.values(), *points) for probe in one.probes}.values())
    of_outliers = passes.outputs(TUNING, outliers, probes)
    of_val = passes.outputs("val", task.val, probes) if with_passes else gathered.val
    assert of_val is not None
    if unsure := few(task.val, task.subject.val_fraction):
        passes.note(unsure)
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
    if outputs.labels is None or outputs.logits is None:
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
    save_sets(run.measured, task.sets)
    save_json(run.transform, task.classifier.transform.to_json())
    sets = {name: _without_skipped(image_set) for name, image_set in task.sets.items()}
    _write_records(run.path / "classes.json", classes)
    _write_records(run.path / "groups.json", _groups(outputs[ID], sets[ID]))
    shown = headline(list(results.scores), task.subject.published)
    # What is shown of an image is what it was taken for.
    if shown is not None and outputs[ID].logits is not None:
        save_misses(run.gallery, shown, results.scores[shown], sets, outputs, task.classifier.classes)


def _write_outliers(task: Task, passes: Passes) -> None:
    """Leave a picture of outliers as the method would make them at the end of its training."""
    if task.method is None or task.subject.recipe is None:
        return
    training = task.subject.recipe.training
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
