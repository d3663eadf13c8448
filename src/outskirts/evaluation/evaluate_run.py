"""Evaluate a run folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from ..arguments import check_arguments
from ..data.benchmark import Benchmark
from ..data.imageset import ImageSet
from ..detectors import Detector
from ..devices import resolve_device
from ..extraction.forward import PassOptions
from ..models.heads import Space
from ..telling import Progress, Say, nobody, silence
from ..training.run import Run
from .measuring import Groups, Options, measure, test_or_beside
from .results import Results
from .subject import Subject

__all__ = ["evaluate_run"]


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
    ``transform.json``, ``notes.json`` and ``gallery/``. Where the test images have labels, ``classes.json`` has the
    accuracy of each class. Where something else is known of them, ``groups.json`` has the accuracy where it meets each
    class.

    Arguments:
        run: A finished run, or its folder; or that of an earlier `evaluate_model`.
        test: ID test images of the run's classes, or their spec; those that lie beside the training images, in another
            sub-folder, unless given.
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
    run = Run.open(run)
    forward = PassOptions(precision, keep, resolve_device(device), skip_corrupt=skip_corrupt)
    options = Options.of(features, forward, tune, tune_passes, say, progress)
    test = test_or_beside(test, benchmark, run.options().get("data"), say)
    return measure(run, lambda: Subject.of(run), test, ood or {}, benchmark, detectors, options)
