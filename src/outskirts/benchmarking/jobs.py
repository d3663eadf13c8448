"""What a benchmark's matrix consists of: a run for each method, variant and seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Self

from ..data.benchmark import Benchmark
from ..errors import OutskirtsError, unknown
from ..evaluation.evaluate import asked_for, choose_detectors
from ..evaluation.set_names import require_set_names
from ..files import require_path_part
from ..methods import registry
from ..training.config import Recipe, resolve_recipe

__all__ = ["Job", "plan", "seeds"]


@dataclass(frozen=True)
class Job:
    """One run of a matrix: all that a process elsewhere needs to make it.

    Arguments:
        method: Name of the training method.
        variant: Name of the benchmark's variant with which the run is trained, if any.
        seed: Seed of the training.
        options: Options of the training and of the method, resolved.
        sets: Specs of ``train`` and ``test``, and of ``val`` if there is one.
        ood: Specs of OOD sets by group and name.
        tune_on: Spec of OOD validation images; outliers are made of the run's own if None.
        detectors: Names of detectors, with parameters as in ``knn:k=10``; or ``all``.
        folder: Folder of the run.
    """

    method: str
    variant: str | None
    seed: int
    options: Mapping[str, Any]
    sets: Mapping[str, str]
    ood: Mapping[str, Mapping[str, str]]
    tune_on: str | None
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

    def to_json(self) -> dict[str, Any]:
        """As files and hashes have had it since version 0.1: with empty texts for None, and without other folders."""
        sets = {name: self.sets.get(name, "") for name in ("train", "val", "test")}
        unset = {"variant": self.variant or "", "tune_on": self.tune_on or ""}
        return {**asdict(self), **unset, "sets": sets, "folder": self.folder.name}

    @classmethod
    def from_json(cls, about: Mapping[str, Any], folder: Path) -> Self:
        """From what `to_json` returned, of a matrix that is in `folder` now."""
        known = {
            "variant": about["variant"] or None,
            "sets": {name: spec for name, spec in about["sets"].items() if spec},
            "tune_on": about["tune_on"] or None,
            "detectors": tuple(about["detectors"]),
            "folder": folder / require_path_part("A run", about["folder"]),
        }
        return cls(**{**about, **known})


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
        OutskirtsError: For a name or an option that is not known, or a method that lacks what it needs, before anything
            is run.
    """
    for what, several in (("methods", methods), ("seeds", seeds)):
        if not several or len(set(several)) < len(several):
            raise OutskirtsError(f"A benchmark needs {what}: name at least one, and none of them twice.")
    for variant in variants:
        if variant not in benchmark.variants:
            raise unknown("variant", variant, benchmark.variants, f"of the benchmark '{benchmark.name}'")
    known = ["all", *registry.names()]
    for name in benchmark.recipes:
        if name not in known:
            raise unknown("method", name, known, f"that the benchmark '{benchmark.name}' could have under 'recipes'")
        # Those of other methods are checked, too: a mistyped option would be dropped in silence.
        _resolved(benchmark, methods[0] if name == "all" else name, None, {})
    for variant in benchmark.variants:
        _resolved(benchmark, methods[0], variant, {})
    for name in ("data", "val", "seed"):
        if name in (options or {}):
            raise OutskirtsError(f"A benchmark sets {name} itself; choose seeds by seeds, and images by the benchmark.")
    choose_detectors(asked_for(detectors))
    require_set_names(benchmark.ood)
    sets = {"train": benchmark.train, "test": benchmark.test} | ({"val": benchmark.val} if benchmark.val else {})
    jobs = []
    for seed, method, added in product(seeds, methods, (None, *variants)):
        recipe = _recipe(benchmark, method, added, {**(options or {}), "seed": seed})
        jobs.append(
            Job(
                method,
                added,
                seed,
                recipe.options(),
                sets,
                {group: dict(members) for group, members in benchmark.ood.items()},
                benchmark.tune_on,
                tuple(detectors),
                out / require_path_part("A run", f"{_label(method, added)}-s{seed}"),
            )
        )
    return jobs


def _resolved(benchmark: Benchmark, method: str, variant: str | None, options: Mapping[str, Any]) -> Recipe:
    """What one training does: options override the variant, then the method's recipe, its preset, and that of all."""
    usual = dict(benchmark.recipes.get("all", {}))
    given = {
        **benchmark.recipes.get(method, {}),
        **(benchmark.variants[variant] if variant else {}),
        **options,
        "data": benchmark.train,
        "val": benchmark.val,
    }
    preset = given.pop("preset", usual.pop("preset", None))
    return resolve_recipe(method, given, preset, usual)


def _recipe(benchmark: Benchmark, method: str, variant: str | None, options: Mapping[str, Any]) -> Recipe:
    """What one training does, if it has all that it needs."""
    recipe = _resolved(benchmark, method, variant, options)
    if not recipe.settings.needs_outlier_images:
        # They were named for the methods that take some.
        recipe = recipe._replace(training=replace(recipe.training, outlier_images=None))
    try:
        recipe.require_complete()
    except OutskirtsError as error:
        raise OutskirtsError(
            f"{error} In a benchmark, name it under 'recipes' of the file, or with --set NAME=VALUE."
        ) from error
    return recipe


def _label(method: str, variant: str | None) -> str:
    return f"{method}+{variant}" if variant else method


#: Seeds are whole numbers of 64 bits.
_SEED_DIGITS = 18


def seeds(text: str) -> list[int]:
    """Seeds as they are written on the command line.

    >>> seeds("0-2,7")
    [0, 1, 2, 7]
    """
    numbers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or max(len(first), len(last)) > _SEED_DIGITS:
            raise OutskirtsError(f"Seeds are written as 0-2,7, of at most {_SEED_DIGITS} digits each, not '{text}'.")
        numbers += range(int(first), int(last or first) + 1)
    return numbers
