"""``outskirts evaluate``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from ..data.benchmark import load_benchmark, open_groups
from ..data.imageset import ImageSet
from ..data.sources import open as open_images
from ..devices import resolve_device
from ..errors import OutskirtsError
from ..evaluation.evaluate import asked_for
from ..evaluation.evaluate_run import evaluate_run
from ..evaluation.results import Results
from ..evaluation.set_groups import CONTROL, SHIFTED
from ..models.heads import Space
from ..report import write_report
from ..training.run import Run
from .console import bar, merged, options, pairs, say, show

__all__ = ["assess_shown", "main"]

_GROUPS = ("near", "far", "ood", SHIFTED, CONTROL)
Entries = Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=SPEC")]


@dataclass(frozen=True)
class Evaluate:
    """Measure a trained run on out-of-distribution sets and write its report."""

    run: tyro.conf.Positional[Path]
    """The run folder."""
    test: str = ""
    """In-distribution test images, of the run's classes."""
    near: Entries = ()
    """Near OOD sets."""
    far: Entries = ()
    """Far OOD sets."""
    ood: Entries = ()
    """Other OOD sets."""
    shifted: Entries = ()
    """ID images under other conditions, labelled: full-spectrum results count them as ID."""
    control: Entries = ()
    """ID images coded or resized otherwise, as in jpeg=folder:photos/test?jpeg=75; their AUROC should be 50 %."""
    benchmark: str = ""
    """A benchmark's name or YAML file, instead of the sets above."""
    detectors: tuple[str, ...] = ("all",)
    """Names of detectors, with parameters as in knn:k=10,space=projection where they are to be others; or all."""
    features: Space = "head"
    """Score what the linear layer is applied to, what the backbone gives, or points on the hypersphere."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of the network."""
    keep: Literal["fp32", "fp16"] = "fp32"
    """Of what is stored: half of it is enough for sets of millions."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    tune: bool = False
    """Choose the parameters of detectors on the run's validation images and outliers made of them."""
    tune_on: str = ""
    """The same on these OOD validation images, none of which may be in a test set."""
    skip_corrupt: bool = False
    """Leave out images that cannot be decoded, and count them."""


def main(arguments: Sequence[str]) -> None:
    """Evaluate, print the table, write the report."""
    given = options(Evaluate, "evaluate", merged(arguments, *(f"--{group}" for group in _GROUPS), "--detectors"))
    run = Run.open(given.run)
    test, ood = _sets(given)
    results = assess_shown(
        run,
        test,
        ood,
        asked_for(given.detectors),
        features=given.features,
        precision=given.precision,
        keep=given.keep,
        device=resolve_device(given.device).type,
        skip_corrupt=given.skip_corrupt,
        tune=open_images(given.tune_on) if given.tune_on else "own" if given.tune else None,
    )
    show(results.table())
    say(f"Report: {write_report([run.path], run.path / 'report.html')}")


def _sets(given: Evaluate) -> tuple[ImageSet, dict[str, dict[str, ImageSet]]]:
    named = {group: pairs(group, getattr(given, group)) for group in _GROUPS}
    ood = {group: sets for group, sets in named.items() if sets}
    if given.benchmark:
        if given.test or ood:
            raise OutskirtsError("Pass either --benchmark or --test with --near, --far and the like, not both.")
        benchmark = load_benchmark(given.benchmark)
        return open_images(benchmark.test), open_groups(benchmark.ood)
    if not given.test:
        raise OutskirtsError("Pass the in-distribution test images: --test SPEC.")
    return open_images(given.test), ood


def assess_shown(
    run: Run,
    test: ImageSet,
    ood: dict[str, dict[str, ImageSet]],
    detectors: Literal["all"] | Sequence[str] = "all",
    **settings: object,
) -> Results:
    """`evaluate_run` with a progress bar and its remarks on the terminal."""
    with bar() as progress:
        task = progress.add_task("", total=None, figures="images")
        return evaluate_run(
            run,
            test,
            ood,
            detectors,
            say=say,
            progress=lambda name, done, total: progress.update(task, description=name, completed=done, total=total),
            **settings,  # type: ignore[arg-type]
        )
