"""The matrix of methods on CIFAR-10, the rows that promise most first, each measured as soon as it is trained."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from on_gpu.journal import Journal
from outskirts.benchmarking.jobs import Job, plan
from outskirts.benchmarking.matrix import Matrix
from outskirts.benchmarking.page import page
from outskirts.benchmarking.run_job import run_job
from outskirts.data.benchmark import Benchmark

__all__ = ["train"]


@dataclass(frozen=True)
class Budget:
    """How a network is trained.

    Arguments:
        backbone: By name.
        options: Of the training.
        images: Of the training set; all if 0.
        seconds: That a run takes at most; without them it is not begun.
    """

    backbone: str
    options: Mapping[str, Any]
    images: int
    seconds: float


_GPU = (
    Budget("fast", {"epochs": 100, "batch_size": 512, "lr": 0.4}, 0, 60),
    Budget("resnet18-cifar", {"epochs": 100, "batch_size": 128, "lr": 0.1, "augment": "flip,crop:4"}, 0, 240),
)
_CPU = (Budget("fast", {"epochs": 1, "batch_size": 64, "lr": 0.05}, 640, 10),)

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
#: Method and variant: the baseline, and then those that promise most for the time that they take.
_ROWS = (
    ("ce", ""),
    ("logitnorm", "pixmix"),
    ("cider", ""),
    ("npos", ""),
    ("ascood", ""),
    ("ce", "pixmix"),
    ("ascood", "pixmix"),
    ("cider", "pixmix"),
)
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
            cells = _cells(journal, data, budget, seed)
            for cell in cells:
                journal.measure(
                    "train",
                    f"{budget.backbone}, {budget.options['epochs']} epochs: {cell.label}, seed {seed}",
                    lambda cell=cell, budget=budget: _made(journal, data, budget, cell, seeds),
                    budget.seconds,
                )


def _cells(journal: Journal, data: Path, budget: Budget, seed: int) -> list[Job]:
    """In the order of `_ROWS`."""
    methods = list(dict.fromkeys(method for method, _ in _ROWS))
    out = journal.out / "runs" / budget.backbone
    options = {
        **budget.options,
        "backbone": budget.backbone,
        "precision": "bf16",
        "device": journal.device.type,
        "val_every": 10,
        "checkpoint_every": 5,
        "compile": _compile(journal, budget, out),
    }
    made = plan(_benchmark(data, budget.images), methods, [seed], out, variants=list(_VARIANTS), detectors=_DETECTORS)
    there = {(cell.method, cell.variant): cell for cell in made}
    # What a variant sets goes over what all have.
    return [
        Job(**{**vars(cell), "options": {**cell.options, **options, **_VARIANTS.get(cell.variant, {})}})
        for cell in (there[row] for row in (_ROWS if journal.device.type == "cuda" else _ROWS[:_ON_A_CPU]))
    ]


def _compile(journal: Journal, budget: Budget, out: Path) -> bool:
    """Whether compiling pays, by what was measured when the first of these runs began: they are to be alike."""
    file = out / "compile.json"
    if not file.is_file():
        found = journal.done("speed", f"{budget.backbone}: compiled")
        pays = found is not None and found["÷ not compiled"] > 1.2 and budget.options["epochs"] > 10
        out.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(pays))
    return bool(json.loads(file.read_text()))


def _benchmark(data: Path, images: int) -> Benchmark:
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
        recipes=_RECIPES,
        variants=_VARIANTS,
    )


def _made(journal: Journal, data: Path, budget: Budget, cell: Job, seeds: Sequence[int]) -> Mapping[str, Any]:
    if failure := run_job(cell):
        raise RuntimeError(failure)
    every = [other for seed in seeds for other in _cells(journal, data, budget, seed)]
    first = next(other for other in every if other.label == "ce")
    # The baseline of a matrix is its first run.
    matrix = Matrix(
        f"CIFAR-10, {budget.backbone}, {budget.options['epochs']} epochs",
        journal.machine,
        "Detectors are chosen on the first twenty classes of Tiny-ImageNet, which take no part in the test.",
        "python benchmarks/cuda.py --only train",
        [first, *(other for other in every if other is not first)],
    )
    matrix.save(cell.folder.parent)
    (journal.out / f"runs-{budget.backbone}.md").write_text(page([matrix], matrix.command))
    line = next(line for line in matrix.leaderboard if line.label == cell.label)
    found: dict[str, Any] = {"detector": line.detector, "accuracy": line.accuracy.mean if line.accuracy else None}
    found |= {f"{name} AUROC": group.auroc.mean for name, group in line.groups.items()}
    return {**found, "minutes": line.minutes, "seeds": len(line.seeds)}
