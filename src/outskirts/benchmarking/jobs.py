"""What a benchmark's matrix consists of: a run for each method, variant and seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from ..data.benchmark import Benchmark
from ..errors import OutskirtsError, unknown
from ..evaluation.evaluate import asked_for, choose_detectors
from ..training.config import resolve_recipe

__all__ = ["Job", "plan", "seeds"]


@dataclass(frozen=True)
class Job:
    """One run of a matrix: all that a process elsewhere needs to make it.

    Arguments:
        method: Name of the training method.
        variant: Name of the benchmark's variant with which the run is trained; empty for none.
        seed: Seed of the training.
        options: Options of the training and of the method, resolved.
        sets: Specs of ``train``, ``val`` and ``test``; ``val`` may be empty.
        ood: Specs of OOD sets by group and name.
        tune_on: Spec of OOD validation images; empty for outliers made of the run's own.
        detectors: Names of detectors, with parameters as in ``knn:k=10``; or ``all``.
        folder: Folder of the run.
    """

    method: str
    variant: str
    seed: int
    options: Mapping[str, Any]
    sets: Mapping[str, str]
    ood: Mapping[str, Mapping[str, str]]
    tune_on: str
    detectors: tuple[str, ...]
    folder: Path

    @property
    def label(self) -> str:
        """The method and its variant, as tables call them."""
        return _label(self.method, self.variant)

    @property
    def record(self) -> Path:
        """The file beside its folder that says what became of it."""
        return self.folder.with_name(f"{self.folder.name}.json")


def plan(
    benchmark: Benchmark,
    methods: Sequence[str],
    seeds: Sequence[int],
    out: Path,
    *,
    variants: Sequence[str] = (),
    detectors: Sequence[str] = ("all",),
    options: Mapping[str, Any] | None = None,
) -> list[Job]:
    """All runs of a matrix, one seed after the other, so that the first of all methods are there early.

    Arguments:
        benchmark: With recipes of its own for methods, or none.
        methods: Names of methods; the first is the baseline.
        seeds: Seeds of the trainings.
        out: The folder of all runs.
        variants: Names of variants of the benchmark; every method is trained with each of them and without.
        detectors: Names of the detectors that every run is measured with.
        options: Options of every training; they override those of the benchmark.

    Raises:
        OutskirtsError: For a name or an option that is not known, before anything is run.
    """
    for what, several in (("methods", methods), ("seeds", seeds)):
        if not several or len(set(several)) < len(several):
            raise OutskirtsError(f"A benchmark needs {what}: name at least one, and none of them twice.")
    for variant in variants:
        if variant not in benchmark.variants:
            raise unknown(f"variant of the benchmark '{benchmark.name}'", variant, benchmark.variants)
    choose_detectors(asked_for(detectors))
    sets = {"train": benchmark.train, "val": benchmark.val or "", "test": benchmark.test}
    jobs = []
    for seed, method, variant in product(seeds, methods, ("", *variants)):
        given = {
            **benchmark.recipes.get("all", {}),
            **benchmark.recipes.get(method, {}),
            **(benchmark.variants[variant] if variant else {}),
            **(options or {}),
            "data": sets["train"],
            "val": sets["val"],
            "seed": seed,
        }
        recipe = resolve_recipe(method, given, str(given.pop("preset", "")))
        flat = {name: value for name, value in recipe.flat().items() if name != "method"}
        jobs.append(
            Job(
                method,
                variant,
                seed,
                flat,
                sets,
                {group: dict(members) for group, members in benchmark.ood.items()},
                benchmark.tune_on or "",
                tuple(detectors),
                out / f"{_label(method, variant)}-s{seed}",
            )
        )
    return jobs


def _label(method: str, variant: str) -> str:
    return f"{method}+{variant}" if variant else method


def seeds(text: str) -> list[int]:
    """Seeds as they are written on the command line.

    >>> seeds("0-2,7")
    [0, 1, 2, 7]
    """
    numbers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise OutskirtsError(f"Seeds are written as 0-2,7, not '{text}'.")
        numbers += range(int(first), int(last or first) + 1)
    return numbers
