"""``outskirts demo``: the whole line on images that come with the packages."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data.benchmark import load_benchmark, open_groups
from ..data.sources import open as open_images
from ..files import require_empty
from ..report import write_report
from ..training.train import train
from .console import options, say, show, training_progress
from .evaluate import assess_shown

__all__ = ["main"]

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
class Demo:
    """Train CE and ASCOOD on handwritten digits 0-5, try them on digits 6-9, textures, photographs and faces."""

    out: Path = Path("runs/demo")
    """Where the two run folders and report.html go; must be empty or new."""
    quick: bool = False
    """A smoke run of half a minute; its numbers mean nothing."""
    seed: int = 0
    """Of everything random."""


def main(arguments: Sequence[str]) -> None:
    """Train, evaluate, report."""
    given = options(Demo, "demo", arguments)
    require_empty(given.out, "choose another with --out.")
    start = time.perf_counter()
    benchmark = load_benchmark("mnist5k")
    say(f"{benchmark.description}\n{benchmark.notes}")

    def small(spec: str) -> str:
        return spec + ("&" if "?" in spec else "?") + "limit=300" if given.quick else spec

    test = open_images(small(benchmark.test))
    ood = open_groups(benchmark.ood, lambda spec: open_images(small(spec)))
    for note in {image_set.note for sets in ood.values() for image_set in sets.values() if image_set.note}:
        say(f"Note: {note}")
    runs = []
    for method, settings in _METHODS.items():
        with training_progress(method) as progress:
            run = train(
                method,
                small(benchmark.train),
                benchmark.val,
                out=given.out / method,
                seed=given.seed,
                epochs=3 if given.quick else 8,
                progress=progress,
                **_BUDGET,
                **settings,
            )
        results = assess_shown(run, test, ood, _DETECTORS)
        show(results.table())
        runs.append(run.path)
    report = write_report(runs, given.out / "report.html")
    say(f"Report: {report}  ({time.perf_counter() - start:.0f} s)")
