"""The whole line on images that come with the packages: two methods trained, measured and reported."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from shlex import quote
from typing import Any

from ..data.benchmark import load_benchmark, open_groups
from ..data.decode import picture
from ..data.imageset import ImageSet
from ..data.sources import reopen
from ..evaluation.evaluate_run import evaluate_run
from ..evaluation.results import Results
from ..extraction.forward import PassOptions
from ..files import make_folder, require_empty
from ..guard.gallery import save_gallery
from ..guard.guard import Guard
from ..guard.lowest import Lowest
from ..guard.opening import opened
from ..paths import output_path
from ..reporting import report
from ..telling import Progress, Say, nobody, silence
from ..training.loop import TrainingProgress
from ..training.run import Run
from ..training.train import train

__all__ = ["demo"]

#: The same for both methods, but for what is ASCOOD's own.
_BUDGET: dict[str, Any] = {"batch_size": 64, "augment": "crop:2", "lr": 0.2, "precision": "fp32"}
_METHODS: dict[str, dict[str, Any]] = {
    "ce": {},
    # Outliers that move the running statistics, as published, cost far OOD detection on digits.
    "ascood": {"outliers": "shuffle", "p_inv": 0.15, "batchnorm": "separate"},
}
#: One or two of each kind; `outskirts evaluate` takes all.
_DETECTORS = ("msp", "energy", "gen", "kl_matching", "knn", "mahalanobis", "vim", "fdbd", "react", "gram", "odin")


def demo(
    out: Path | str = "runs/demo",
    *,
    quick: bool = False,
    seed: int = 0,
    measured: Callable[[Results], object] = lambda results: None,
    say: Say = silence,
    progress: Progress = nobody,
    learning: TrainingProgress = lambda step, steps, latest: None,
) -> dict[str, Results]:
    """Train CE and ASCOOD on handwritten digits 0-5, and try them on digits 6-9, textures, photographs and faces.

    Writes a run folder for each method, ``report.html``, a guard of the second run, and ``verdicts.html`` with what it
    says of three images. Nothing is downloaded. It takes some minutes on two
    processor cores, and needs ``pip install 'outskirts[demo]'``.

    Arguments:
        out: Folder of the two runs and of the report; it must be new or empty.
        quick: Run for about two minutes only, to see that everything works; the numbers then mean nothing.
        seed: Seed of all random numbers.
        measured: Told the results of each run as it is measured.
        say: Told in sentences what is done.
        progress: Told of the images forwarded.
        learning: Told of the steps of the trainings.

    Returns:
        The results, by method.

    Raises:
        OutskirtsError: If the folder is not empty, or a package of the images is not installed.
    """
    out, start = output_path(out), time.perf_counter()
    require_empty(out, "choose another with --out.")
    benchmark = load_benchmark("mnist5k")
    say(f"{benchmark.description}\n{benchmark.notes}")

    def small(spec: str) -> str:
        return spec + ("&" if "?" in spec else "?") + "limit=300" if quick else spec

    test = reopen(small(benchmark.test))
    ood = open_groups(benchmark.ood, lambda spec: reopen(small(spec)))
    options, runs, results = {**_BUDGET, "seed": seed, "epochs": 3 if quick else 8}, list[Run](), dict[str, Results]()
    for method, settings in _METHODS.items():
        say(f"Training {method}.")
        data, val = small(benchmark.train), benchmark.val
        runs.append(train(method, data, val, out=out / method, progress=learning, **options, **settings))
        results[method] = evaluate_run(runs[-1], test, ood, _DETECTORS, say=say, progress=progress)
        measured(results[method])
    say(f"Report: {report(runs, out / 'report.html')}  ({time.perf_counter() - start:.0f} s)")
    _guarded(runs[-1], test, ood, out, say)
    return results


def _guarded(run: Run, test: ImageSet, ood: Mapping[str, Mapping[str, ImageSet]], out: Path, say: Say) -> None:
    """A guard, calibrated on half of the test images, and what it says of a new one and of one of each OOD group."""
    guard = Guard.fit(run, calibration=test.part("0-50%"), detector="knn:k=10", say=say)
    say(f"Guard: {guard.save(out / 'guard')}. {guard.calibration.sentences()[0]}")
    shown = {"known": test.part("50-100%")}
    shown |= {name: images for sets in ood.values() for name, images in list(sets.items())[:1]}
    make_folder(out / "pictures")
    for name, images in shown.items():
        picture(images.image(0)).save(out / "pictures" / f"{name}.png")
    pictures = opened([out / "pictures" / f"{name}.png" for name in shown])
    verdicts, lowest = guard.predict(pictures), Lowest(len(shown))
    for verdict in verdicts:
        said = "accepted" if verdict.accepted else "rejected"
        say(f"{verdict.file}: taken for {verdict.label}, p-value {verdict.p_value:.3g}, {said}.")
    lowest.take_all(pictures, verdicts)
    page = save_gallery(guard, pictures, lowest, out / "verdicts.html", PassOptions(guard.precision), name="demo")
    say(f"Verdicts with pictures: {page}. Try your own: outskirts predict {quote(str(out / 'guard'))} PICTURES")
