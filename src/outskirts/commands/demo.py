"""``outskirts demo``: the whole line on images that come with the packages."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ..data.benchmark import load_benchmark, open_groups
from ..data.sources import open as open_images
from ..evaluation.evaluate_run import evaluate_run
from ..files import require_empty
from ..reporting import report
from ..training.train import train
from .console import Command, parse, say, show, telling, training_progress

__all__ = ["COMMAND", "main"]

#: The same for both methods, but for what is ASCOOD's own.
_BUDGET: dict[str, Any] = {"batch_size": 64, "augment": "crop:2", "lr": 0.2, "precision": "fp32"}
_METHODS: dict[str, dict[str, Any]] = {
    "ce": {},
    # Outliers that move the running statistics, as published, cost far OOD detection on digits.
    "ascood": {"outliers": "shuffle", "p_inv": 0.15, "batchnorm": "separate"},
}
#: One or two of each kind; `outskirts evaluate` takes all.
_DETECTORS = ("msp", "energy", "gen", "kl_matching", "knn", "mahalanobis", "vim", "fdbd", "react", "gram", "odin")


@dataclass(frozen=True)
class Demo(Command):
    """Train CE and ASCOOD on handwritten digits 0-5, and try them on digits 6-9, textures, photographs and faces.

    Nothing is downloaded. It takes some minutes on two processor cores.
    """

    examples: ClassVar[tuple[str, ...]] = ("outskirts demo", "outskirts demo --quick --out runs/quick")

    out: Path = Path("runs/demo")
    """Folder of the two runs and of report.html; it must be new or empty."""
    quick: bool = False
    """Run for half a minute only, to see that everything works; the numbers then mean nothing."""
    seed: int = 0
    """Seed of all random numbers."""

    def __call__(self) -> None:
        require_empty(self.out, "choose another with --out.")
        start = time.perf_counter()
        benchmark = load_benchmark("mnist5k")
        say(f"{benchmark.description}\n{benchmark.notes}")

        def small(spec: str) -> str:
            return spec + ("&" if "?" in spec else "?") + "limit=300" if self.quick else spec

        test = open_images(small(benchmark.test))
        ood = open_groups(benchmark.ood, lambda spec: open_images(small(spec)))
        for note in {image_set.note for sets in ood.values() for image_set in sets.values() if image_set.note}:
            say(f"Note: {note}")
        runs = []
        for method, settings in _METHODS.items():
            with training_progress(method) as training:
                run = train(
                    method,
                    small(benchmark.train),
                    benchmark.val,
                    out=self.out / method,
                    seed=self.seed,
                    epochs=3 if self.quick else 8,
                    progress=training,
                    **_BUDGET,
                    **settings,
                )
            with telling() as (saying, progress):
                results = evaluate_run(run, test, ood, _DETECTORS, say=saying, progress=progress)
            show(results.table())
            runs.append(run.path)
        page = report(runs, self.out / "report.html")
        say(f"Report: {page}  ({time.perf_counter() - start:.0f} s)")


COMMAND = Demo


def main(arguments: Sequence[str]) -> None:
    """Train, evaluate, report."""
    parse(Demo, "demo", arguments)()
