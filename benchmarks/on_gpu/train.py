"""The matrix of methods on CIFAR-10, the rows that promise most first, each measured as soon as it is trained."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from on_gpu.journal import Journal
from outskirts.benchmarking.jobs import Job, plan
from outskirts.benchmarking.matrix import Matrix
from outskirts.benchmarking.page import page
from outskirts.benchmarking.run_job import run_job
from outskirts.data.benchmark import Benchmark
from outskirts.methods import registry
from outskirts.training.config import preset_options

__all__ = ["train"]


@dataclass(frozen=True)
class Budget:
    """How a network is trained.

    Arguments:
        backbone: By name.
        epochs: Of every training.
        options: Of trainings, unless a recipe says otherwise.
        images: Of the training set; all if 0.
        seconds: That a run takes at most; without them it is not begun.
        preset: The recipe of methods that have it; others have one of `_RECIPES`.
    """

    backbone: str
    epochs: int
    options: Mapping[str, Any]
    images: int
    seconds: float
    preset: str = ""

    @property
    def name(self) -> str:
        return f"{self.backbone}, {self.epochs} epochs"

    def recipe(self, method: str) -> Mapping[str, Any]:
        """The options of a method's training."""
        if self.preset in registry[method].presets:
            return {**self.options, **preset_options(method, self.preset)}
        recipe = dict(_RECIPES[method])
        return {**self.options, **preset_options(method, recipe.pop("preset", "")), **recipe}


_GPU = (
    Budget("fast", 100, {"batch_size": 512, "lr": 0.4}, 0, 60),
    Budget("resnet18-cifar", 100, {"batch_size": 128, "lr": 0.1, "augment": "flip,crop:4"}, 0, 240, "cifar10"),
)
_CPU = (Budget("fast", 1, {"batch_size": 64, "lr": 0.05}, 640, 10),)

_SMOOTHED = {"label_smoothing": 0.1}
#: Options of each method beyond its defaults; settings were chosen on validation images (docs/results.md).
_RECIPES: Mapping[str, Mapping[str, Any]] = {
    "ce": _SMOOTHED,
    "ascood": {"preset": "cifar10-quick", **_SMOOTHED},
    "cider": {"preset": "quick"},
    "npos": {"preset": "quick"},
    "logitnorm": {},
}
#: Those that take seconds to choose and to fit; all would take longer than a training does on a GPU.
_DETECTORS = (
    "msp",
    "energy",
    "gen",
    "react",
    "ash",
    "scale",
    "she",
    "vim",
    "residual",
    "mahalanobis",
    "knn",
    "nci",
    "fdbd",
)
_VARIANTS = {"pixmix": {"augment": "flip,crop:4,pixmix"}}
#: Method and variant: the baseline, and then those that promise most for the time that they take. NCIS and the training
#: on synthetic images (SIO) have no row: both need images of a diffusion model, whose training and sampling take hours
#: rather than minutes, and what else lies in the folder are the sets that are tested and tuned on.
_ROWS = (
    ("ce", None),
    ("logitnorm", "pixmix"),
    ("cider", None),
    ("npos", None),
    ("ascood", None),
    ("ce", "pixmix"),
    ("ascood", "pixmix"),
    ("cider", "pixmix"),
)
#: The file that says how runs began.
_COMPILED = "compiled.json"
#: Rows that a processor makes, to show that all works.
_ON_A_CPU = 3


def train(journal: Journal, data: Path, seeds: Sequence[int] = (0, 1, 2)) -> None:
    """Train and measure until there is no more time; called again, it goes on.

    Arguments:
        journal: Where it is written down; runs lie beside it.
        data: The folder of Parquet files.
        seeds: Of the trainings.
    """
    gpu = journal.device.type == "cuda"
    for seed in seeds if gpu else seeds[:1]:
        for budget in _GPU if gpu else _CPU:
            for job in _planned(journal, data, budget, seed):
                journal.measure(
                    "train",
                    f"{budget.name}: {job.label}, seed {seed}",
                    lambda job=job, budget=budget: _made(journal, data, budget, job, seeds),
                    budget.seconds,
                )


def _planned(journal: Journal, data: Path, budget: Budget, seed: int) -> list[Job]:
    """The runs of a budget; none if they cannot be planned, which is then written down."""
    name = f"{budget.name}: what is planned"
    if ("train", name) not in journal.failed:
        with journal.guarded("train", name):
            return _jobs(journal, data, budget, seed)
    return []


def _jobs(journal: Journal, data: Path, budget: Budget, seed: int) -> list[Job]:
    """In the order of `_ROWS`."""
    methods = list(dict.fromkeys(method for method, _ in _ROWS))
    options = {
        "epochs": budget.epochs,
        "backbone": budget.backbone,
        "precision": "bf16",
        "device": journal.device.type,
        "val_every": 10,
        "checkpoint_every": 5,
    }
    made = plan(
        _benchmark(data, budget),
        methods,
        [seed],
        journal.out / "runs" / budget.backbone,
        variants=list(_VARIANTS),
        detectors=_DETECTORS,
        options=options,
    )
    there = {(job.method, job.variant): job for job in made}
    jobs = [there[row] for row in (_ROWS if journal.device.type == "cuda" else _ROWS[:_ON_A_CPU])]
    return [
        replace(job, options={**job.options, "compile": _compile(journal, budget, job.folder) == "yes"}) for job in jobs
    ]


def _compile(journal: Journal, budget: Budget, folder: Path) -> str:
    """Whether the network of a run is compiled: ``yes``, ``no``, or ``unmeasured``, which is none of the two for good.

    A run that is begun goes on as it began; the losses of others are the same to rounding.
    """
    if known := _begun(folder).get(folder.name):
        return known
    found = journal.done("speed", f"{budget.backbone}: compiled")
    if found is None:
        return "unmeasured"
    return "yes" if found["÷ not compiled"] > 1.2 and budget.epochs > 10 else "no"


def _begin(folder: Path, compiled: str) -> None:
    """Write down how a run begins."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.with_name(_COMPILED).write_text(json.dumps({**_begun(folder), folder.name: compiled}))


def _begun(folder: Path) -> dict[str, str]:
    """How runs beside a folder began, by their names."""
    file = folder.with_name(_COMPILED)
    return dict(json.loads(file.read_text())) if file.is_file() else {}


def _benchmark(data: Path, budget: Budget) -> Benchmark:
    images = budget.images

    def spec(name: str, options: str = "") -> str:
        limit = f"limit={images // 4}" if images else ""
        return f"parquet:{data / name}.parquet" + (
            f"?{'&'.join(filter(None, (options, limit)))}" if options or limit else ""
        )

    every = f"parquet:{data / 'cifar10-train'}.parquet"
    few = f"&limit={images}" if images else ""
    return Benchmark(
        "cifar10-gpu",
        train=f"{every}?part=0-98%{few}",
        val=f"{every}?part=98-100%{few}",
        test=spec("cifar10-test"),
        tune_on=spec("tinyimagenet-val", "classes=0-19"),
        ood={
            "near": {"cifar100": spec("cifar100-test"), "tin": spec("tinyimagenet-val", "classes=20-199")},
            "far": {"mnist": spec("mnist-test"), "textures": spec("dtd10")},
        },
        description="CIFAR-10 by benchmarks/cuda.py.",
        recipes={method: budget.recipe(method) for method in _RECIPES},
        variants=_VARIANTS,
    )


def _made(journal: Journal, data: Path, budget: Budget, job: Job, seeds: Sequence[int]) -> Mapping[str, Any]:
    compiled = _compile(journal, budget, job.folder)
    _begin(job.folder, compiled)
    if failure := run_job(job):
        raise RuntimeError(failure)
    every = [other for seed in seeds for other in _jobs(journal, data, budget, seed)]
    first = next(other for other in every if other.label == "ce")
    # The baseline of a matrix is its first run.
    matrix = Matrix(
        f"CIFAR-10, {budget.name}",
        journal.machine,
        "Detectors are chosen on the first twenty classes of Tiny-ImageNet, which take no part in the test.",
        "python benchmarks/cuda.py --only train",
        [first, *(other for other in every if other is not first)],
    )
    matrix.save(job.folder.parent)
    (journal.out / f"runs-{budget.backbone}.md").write_text(page([matrix], matrix.command))
    line = next(line for line in matrix.leaderboard if line.label == job.label)
    found: dict[str, Any] = {"detector": line.detector, "accuracy": line.accuracy.mean if line.accuracy else None}
    found |= {f"{name} AUROC": group.auroc.mean for name, group in line.groups.items()}
    return {**found, "minutes": line.minutes, "seeds": len(line.seeds), "compiled": compiled}
