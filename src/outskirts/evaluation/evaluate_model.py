"""Evaluate a classifier that was trained elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from ..arguments import check_arguments
from ..data.benchmark import Benchmark
from ..data.imageset import ImageSet
from ..data.levels import measured_reading
from ..data.reading import FIRST
from ..data.sources import open as open_images
from ..data.sources import open_split
from ..detectors import Detector
from ..devices import resolve_device
from ..errors import OutskirtsError
from ..extraction.forward import PassOptions
from ..models.classifier import Classifier
from ..models.given import parse_model
from ..models.heads import Space
from ..paths import output_path
from ..telling import Progress, Say, nobody, silence
from ..training.given import Given
from ..training.loading import load, run_of
from ..training.run import Run
from ..training.validation import validation_beside, with_validation
from .measuring import Groups, Options, measure, test_or_beside
from .results import Results
from .subject import Subject, aligned

__all__ = ["evaluate_model", "model_folder"]


@check_arguments
def evaluate_model(
    model: Classifier | str | Path,
    train: ImageSet | str | Path,
    test: ImageSet | str | Path | None = None,
    ood: Groups | None = None,
    detectors: Literal["all"] | Iterable[str | Detector | Mapping[str, Any]] = "all",
    *,
    val: ImageSet | str | Path | None = None,
    val_fraction: float = 0.05,
    seed: int = 0,
    out: Path | str | None = None,
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
    """Measure how well a classifier that was trained elsewhere detects OOD images; nothing is trained.

    The folder of the results is one that `outskirts.evaluate_run` measures again, and `outskirts.report` shows.

    Arguments:
        model: A classifier, or the text that names one, such as ``timm:resnet50?weights=my.pt``; see
            `outskirts.models.given`.
        train: Images that it was trained on, or their spec, with its classes; detectors are fitted on them.
        test: ID test images, or their spec; those that lie beside the training images, in another sub-folder, unless
            given.
        ood: OOD sets, or their specs, by group and name.
        detectors: ``"all"``, or names, mappings and detectors, as of `outskirts.evaluate_run`.
        val: Validation images, or their spec; those beside the training images unless given. If there are none, a part
            of the training images is set aside. The classifier has seen these, so what is calibrated on them takes
            images to be easier than they are.
        val_fraction: Share of the training images, between 0 and 1, that is set aside.
        seed: Seed of that part, and of the bootstrap.
        out: Folder of the results; by default one below ``runs/`` named after the classifier.
        benchmark: A benchmark, its name, or its YAML file, in the place of `test` and `ood`.
        features: Features that detectors see, as of `outskirts.evaluate_run`.
        precision: Precision of the network.
        keep: Precision of the features that are stored.
        device: Device of the network: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        skip_corrupt: Leave out images that cannot be decoded.
        tune: OOD validation images, or their spec, on which to choose parameters; or ``own``.
        tune_passes: Also choose parameters of which each takes a pass over the images.
        say: Told in sentences what is done.
        progress: Told of the images forwarded.

    Raises:
        OutskirtsError: If the classifier is a run, cannot be opened or has other classes, the folder holds something
            else, or as of `outskirts.evaluate_run`.
    """
    folder = None if out is None else output_path(out)
    images = open_images(train)
    images.require_trainable()
    val_images = validation_beside(images, say) if val is None else open_split(val, "val")
    test = test_or_beside(test, benchmark, images.spec, say)
    classifier, text = _named(model, images, say)
    run = Run(folder or model_folder(text))
    classifier = _reading_alike(classifier, run, images, skip_corrupt, say)
    specs = images.spec or None, (val_images.spec or None) if val_images is not None else None
    read = classifier.transform.reading
    given = Given(text, list(classifier.classes), *specs, val_fraction, seed, None if read == FIRST else read.to_json())

    def opened() -> Subject:
        sets = with_validation(images, val_images, given.config(), run.known_sets())
        _require_same(run, given, *sets)
        return Subject(run, classifier, *aligned(classifier, *sets), given=given, command=_words(given))

    forward = PassOptions(precision, keep, resolve_device(device), skip_corrupt=skip_corrupt)
    options = Options.of(features, forward, tune, tune_passes, say, progress)
    return measure(run, opened, test, ood or {}, benchmark, detectors, options)


def _named(model: Classifier | str | Path, images: ImageSet, say: Say) -> tuple[Classifier, str]:
    """A classifier that was trained elsewhere, and the text that names it."""
    if isinstance(model, Classifier):
        return model, f"custom:{model.architecture}"
    if run_of(model) is not None:
        raise OutskirtsError(
            f"'{model}' is a run, which knows its own images: outskirts evaluate RUN, or evaluate_run."
        )
    return load(model, classes=images.classes, say=say), str(parse_model(model))


def _reading_alike(classifier: Classifier, run: Run, images: ImageSet, skip_corrupt: bool, say: Say) -> Classifier:
    """The classifier with the range of wide training images; in a folder of version 0.1, with what that has read."""
    transform = classifier.transform
    earlier = run.given if run.config.is_file() else None
    if earlier is not None and earlier.reading is None:
        read = FIRST
    else:
        read = measured_reading(images, transform.reading, skip_corrupt, say)
    if read != transform.reading:
        return classifier.with_transform(replace(transform, reading=read))
    return classifier


def _require_same(run: Run, given: Given, train: ImageSet, val: ImageSet) -> None:
    """Raise unless the folder is new, or that of an earlier evaluation of the same classifier."""
    if not run.config.is_file():
        run.require_new()
    elif run.given != given:
        raise OutskirtsError(
            f"{run.path} holds another classifier, or other images of it. Choose another folder (--out)."
        )
    else:
        run.require_same_sets(train, val)


def _words(given: Given) -> tuple[str, ...]:
    """Words of the command that measures a classifier, but for its folder and the sets."""
    words = ["outskirts", "evaluate", "--model", given.model, "--train", str(given.data)]
    cut = ["--val-fraction", f"{given.val_fraction:g}", "--seed", str(given.seed)]
    return (*words, *(["--val", given.val] if given.val else cut))


def model_folder(text: str) -> Path:
    """``runs/KIND-NAME``, for the text of a classifier."""
    kind, _, where = text.partition("?")[0].partition(":")
    return Path("runs") / re.sub(r"[^\w.-]+", "-", f"{kind}-{Path(where).name}").strip("-.")
