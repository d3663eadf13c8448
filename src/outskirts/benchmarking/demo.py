"""The whole line on images that come with the packages: two methods trained, measured and reported."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..data.benchmark import load_benchmark, open_groups
from ..data.sources import reopen
from ..evaluation.evaluate_run import evaluate_run
from ..evaluation.results import Results
from ..files import require_empty
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

    Writes a run folder for each method, and ``report.html``. Nothing is downloaded. It takes some minutes on two
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
    out, start = Path(out), time.perf_counter()
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
    return results
