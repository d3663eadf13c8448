"""Evaluate a run folder: every image once through the network, then every detector from what that left."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from ..data.imageset import ImageSet
from ..data.leakage import TOLERATED, overlap, require_unseen
from ..detectors import Detector, Probe
from ..errors import OutskirtsError
from ..extraction.extract import extract
from ..extraction.outputs import Outputs
from ..files import save_json
from ..methods import registry
from ..methods.preview import synthesize
from ..models.classifier import Classifier
from ..models.heads import Space
from ..training.run import Run, load
from ..training.train import training_sets
from .evaluate import choose_detectors, evaluate, fit_detectors, lacking
from .misses import save_misses
from .results import ID, TUNING, Results, headline
from .set_groups import SHIFTED
from .subgroups import group_accuracies
from .tuning import Tuned, own_outliers
from .tuning import tune as tune_detectors

__all__ = ["evaluate_run"]


def evaluate_run(
    run: Run,
    test: ImageSet,
    ood: Mapping[str, Mapping[str, ImageSet]],
    detectors: Literal["all"] | Iterable[str | Detector | Mapping[str, Any]] = "all",
    *,
    features: Space = "head",
    precision: Literal["fp32", "bf16"] = "fp32",
    keep: Literal["fp32", "fp16"] = "fp32",
    device: str = "cpu",
    skip_corrupt: bool = False,
    tune: ImageSet | Literal["own"] | None = None,
    say: Callable[[str], None] = lambda sentence: None,
    progress: Callable[[str, int, int], None] = lambda name, done, total: None,
) -> Results:
    """Write ``outputs/``, ``results.csv``, ``scores.safetensors``, ``notes.json`` and ``gallery/``.

    Where something else is known of the test images, ``groups.json`` has the accuracy where it meets each class.

    Arguments:
        run: A finished run.
        test: ID test images, of the run's classes.
        ood: OOD sets by group and name; those of the group ``shifted`` are ID images, see `spectrum`.
        detectors: As for `evaluate`; of ``"all"``, those that cannot be fitted on the run's images are left out.
        features: As for `extract`.
        precision: Of the network.
        keep: As for `extract`.
        device: Where the network runs.
        skip_corrupt: Leave out images that cannot be decoded.
        tune: OOD validation images, none of them in a test set, on which to choose the parameters that are not given;
            or ``own``, for outliers made of the run's validation images.
        say: Told in sentences what is done.
        progress: Told of the images forwarded.

    Raises:
        OutskirtsError: If a set is empty, an OOD set overlaps the ID images, or the run cannot be read.
    """
    classifier = load(run.path)
    recipe = run.recipe()
    train, val = training_sets(recipe)
    chosen = choose_detectors(detectors, registry[recipe.method].detectors(recipe.settings))
    sets = {ID: test.align(classifier.classes), **_flat(ood)}
    sets |= {name: image_set.align(classifier.classes) for name, image_set in ood.get(SHIFTED, {}).items()}
    notes = _check(sets, train, skip_corrupt)
    for name, image_set in sets.items():
        require_unseen(run.seen_by_generator, image_set, f"'{name}'")
        require_unseen(run.exposed, image_set, f"'{name}'", exposed=True)
    method = registry[recipe.method](recipe.settings, classifier)
    epochs, seed = recipe.training.epochs, recipe.training.seed
    queue_size = method.queue_size and epochs > 0
    forward = partial(
        extract,
        classifier,
        store=run.outputs,
        precision=precision,
        keep=keep,
        device=device,
        skip_corrupt=skip_corrupt,
    )
    unfit = _unserved(chosen, classifier, device) if test.pictures else {}
    if unfit and detectors != "all":
        raise OutskirtsError(f"The detector '{next(iter(unfit))}' {next(iter(unfit.values()))}")
    chosen = {label: one for label, one in chosen.items() if label not in unfit}
    probes: dict[str, Probe] = {probe.key: probe for one in chosen.values() for probe in one.probes}

    def outputs_of(name: str, image_set: ImageSet, gathered: Iterable[Probe]) -> Outputs:
        forwarded = 0

        def count(done: int, total: int) -> None:
            nonlocal forwarded
            forwarded = done
            progress(name, done, total)

        outputs = forward(image_set, probes=gathered, features=features, progress=count)
        said = f"{forwarded:,} images, once each" if forwarded else f"{len(outputs):,} images from the store, no pass"
        say(f"{name}: {said}")
        if image_set.skipped:
            notes.append(
                f"{len(image_set.skipped)} of the {len(image_set):,} images of {name} could not be decoded and were "
                f"left out, such as {image_set.skipped[0]}."
            )
            say(notes[-1])
        return outputs

    outputs = {name: outputs_of(name, image_set, probes.values()) for name, image_set in sets.items()}
    if (sets[ID].labels < 0).any():
        notes.append("Images of the ID test set have no label, so its accuracy is not known.")
        say(notes[-1])
        outputs[ID] = replace(outputs[ID], labels=None)
    fitted = {}
    for split, image_set in {"train": train, "val": val}.items():
        # Parameters are chosen by the scores of validation images, which need all that scores of others do.
        scored = split == "val" and tune is not None
        on = [one for one in chosen.values() if one.fit_on == split or (one.calibrates and split == "val")]
        if on or scored or (split == "train" and queue_size):
            needed = [probe for one in on for probe in one.probes if one.fits_probes]
            fitted[split] = outputs_of(split, image_set, probes.values() if scored else needed)
    described = recipe.method if features == "head" else f"{recipe.method} ({features} features)"
    about: dict[str, Any] = {"run": run.path.name, "method": described, "seed": seed}
    tuned = Tuned({}, ())
    if tune is not None:
        outliers = own_outliers(classifier, val, seed) if tune == "own" else tune
        _require_apart(outliers, {**sets, "train": train})
        of_outliers = outputs_of(TUNING, outliers, probes.values())
        able = {label: one for label, one in chosen.items() if not lacking(one, outputs[ID])}
        of_train = fitted.get("train")
        tuned = tune_detectors(
            able, train=of_train, val=fitted["val"], outliers=of_outliers, name=outliers.spec, **about
        )
        chosen |= tuned.detectors
        say(f"Parameters chosen at {len(tuned.rows)} points on validation images and {outliers.spec}.")
    for label, detector in chosen.items():
        if lacking(detector, outputs[ID]):
            continue
        try:
            fit_detectors({label: detector}, train=fitted.get("train"), val=fitted.get("val"))
        except OutskirtsError as error:
            if detectors != "all":
                raise
            unfit[label] = f"cannot be fitted: {error}"
    results = evaluate(
        outputs[ID],
        {name: outputs[name] for name in sets if name != ID},
        [detector for label, detector in chosen.items() if label not in unfit],
        groups={name: group for group, members in ood.items() for name in members},
        **about,
    )
    results = replace(results, skipped={**results.skipped, **unfit}, tuning=tuned.rows)
    results.save(run.path)
    save_json(run.path / "notes.json", notes)
    _save_groups(run.path / "groups.json", outputs[ID], _without_skipped(sets[ID]))
    shown = headline(list(results.scores), registry[recipe.method].detectors(recipe.settings))
    if shown is not None:
        seen = {name: _without_skipped(image_set) for name, image_set in sets.items()}
        save_misses(run.gallery, shown, results.scores[shown], seen, outputs, classifier.classes)
    remembered = None
    if queue_size:
        # The pass has been made above; these come from the store.
        raw = forward(train, features="raw")
        assert raw.labels is not None
        remembered = raw.features, raw.labels
    synthesize(
        method.cpu(),
        train.limit(24, seed),
        run.gallery,
        features=remembered,
        seed=seed,
        epoch=max(1, epochs),
        epochs=max(1, epochs),
        skip_corrupt=skip_corrupt,
    )
    return results


def _save_groups(file: Path, outputs: Outputs, test: ImageSet) -> None:
    if test.attribute is None or outputs.labels is None:
        file.unlink(missing_ok=True)
    else:
        save_json(file, [asdict(group) for group in group_accuracies(outputs, test.classes, test.attribute)])


def _without_skipped(image_set: ImageSet) -> ImageSet:
    """The images that outputs have rows of."""
    skipped = set(image_set.skipped)
    return (
        image_set.subset([i for i in range(len(image_set)) if image_set.name(i) not in skipped])
        if skipped
        else image_set
    )


def _unserved(chosen: Mapping[str, Detector], classifier: Classifier, device: str) -> dict[str, str]:
    """Of detectors that ask more of a network than it can tell, why, found out on an image of nothing."""
    transform = classifier.transform
    nothing = torch.zeros(1, transform.channels, transform.size, transform.size, device=device)
    classifier = classifier.to(device).eval()
    reasons = {}
    for label, detector in chosen.items():
        try:
            for probe in detector.probes:
                probe(classifier, nothing)
        except OutskirtsError as error:
            reasons[label] = f"cannot be computed: {error}"
    return reasons


def _require_apart(outliers: ImageSet, sets: Mapping[str, ImageSet]) -> None:
    """Raise if parameters would be chosen on images of a test set."""
    for name, image_set in sets.items():
        if shared := overlap(outliers, image_set):
            raise OutskirtsError(
                f"{shared:,} of the images to choose parameters on ({outliers.spec}) are also in the set '{name}'; "
                "choose others, or other parts of it: SPEC?part=0-50%."
            )


def _flat(ood: Mapping[str, Mapping[str, ImageSet]]) -> dict[str, ImageSet]:
    flat: dict[str, ImageSet] = {}
    for members in ood.values():
        for name, image_set in members.items():
            if name in flat or name in ("id", "train", "val", "mean") or not re.fullmatch(r"[\w.+-]+", name):
                raise OutskirtsError(
                    f"An OOD set cannot be called '{name}': names differ from each other and from id, train, val and "
                    "mean, and are made of letters, digits and . + - _"
                )
            flat[name] = image_set
    if not flat:
        raise OutskirtsError("There is no OOD set to evaluate on; name at least one, such as --far svhn=svhn.")
    return flat


def _check(sets: Mapping[str, ImageSet], train: ImageSet, skip_corrupt: bool) -> list[str]:
    """Refuse sets that share images; returns what a reader of the results should know."""
    notes = []
    for name, image_set in sets.items():
        if not len(image_set):
            raise OutskirtsError(f"The set '{name}' ({image_set.spec}) holds no images.")
        if image_set.note:
            notes.append(f"{name}: {image_set.note}")
        for other, against in {"ID test": sets[ID], "training": train}.items():
            shared = 0 if image_set is against else overlap(image_set, against)
            if shared and skip_corrupt:  # Empty files are all alike.
                shared = overlap(image_set.decodable(), against)
            if shared > TOLERATED * len(image_set):
                raise OutskirtsError(
                    f"{shared:,} of the {len(image_set):,} images of '{name}' ({image_set.spec}) are also among the "
                    f"{other} images ({against.spec}); results would mean nothing. Choose another set."
                )
            if shared:
                notes.append(f"{shared} of the {len(image_set):,} images of {name} are also among the {other} images.")
    return notes
