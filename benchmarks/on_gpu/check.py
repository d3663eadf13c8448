"""Is what a device computes right, and the same at every call?"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

import outskirts as osk
from on_gpu.journal import Journal
from outskirts.evaluation.evaluate import Chosen
from outskirts.methods import registry
from outskirts.testing.device import (
    SMALL_QUEUES,
    check_agreement,
    check_batches,
    check_diffusion,
    check_loop,
    check_resume,
    check_waits,
)
from outskirts.testing.needs import needed, small_generator
from outskirts.testing.scores import check_scores, every_detector

__all__ = ["check"]

#: The methods that matter most come first, as there may not be time for all.
_FIRST = ("ce", "ascood", "cider", "npos", "ncis")
_LOOPED = ("ce", "ascood", "cider", "npos", "vos")
#: Detectors that only some heads have a score for, by a method with such a head.
_OWN = {"npos": ("ood_head", "mcm"), "godin": ("godin",)}


def check(journal: Journal, data: Path, images: int, only: Sequence[str] = ()) -> None:
    """Write down whether everything comes out as on the host.

    Arguments:
        journal: Where.
        data: The folder of Parquet files.
        images: To train on.
        only: Methods; all unless given.
    """
    methods = only or [*_FIRST, *(name for name in registry.names() if name not in _FIRST)]
    checks = _Checks(journal.device, data, images, Path(tempfile.mkdtemp(prefix="outskirts-check-")))

    def measure(name: str, call: Callable[..., Mapping[str, Any] | None], *given: Any, needs: float = 1) -> None:
        journal.measure("check", name, lambda: call(*given) or {}, needs)

    def resume(method: str) -> None:
        measure(f"{method}: an epoch of {images} images, resumed bit-equal", checks.resume, method, needs=3)

    for method in methods:
        measure(f"{method}: fp32 as on the host", check_agreement, method, journal.device)
    for method in methods:
        measure(f"{method}: bf16 near fp32 of the host", check_agreement, method, journal.device, "bf16")
    for method in methods[: len(_FIRST)]:
        resume(method)
    if journal.device.type == "cuda":
        for method in methods:
            measure(f"{method}: the host never waits", check_waits, method, journal.device)
        measure("batches: the host never waits", check_batches, journal.device)
        for method in _LOOPED:
            measure(f"{method}: a training waits for its records alone", checks.loop, method)
    for method in methods[len(_FIRST) :]:
        resume(method)
    measure("diffusion: training, sampling, inversion", checks.diffusion, needs=5)
    measure("evaluation: every detector", checks.scores, "ce", every_detector, needs=5)
    for method, detectors in _OWN.items():
        name = f"evaluation: detectors of {method}'s head"
        measure(name, checks.scores, method, lambda run, detectors=detectors: detectors, needs=3)


class _Checks:
    """Checks that train on images; what cannot be opened fails those which need it.

    Arguments:
        device: Where.
        data: The folder of Parquet files.
        images: To train on.
        scratch: For what is made.
    """

    def __init__(self, device: torch.device, data: Path, images: int, scratch: Path) -> None:
        self.device, self.scratch = device, scratch
        self._train = f"parquet:{data / 'cifar10-train.parquet'}?limit={images}"
        self._others = f"parquet:{data / 'cifar100-test.parquet'}?limit={images // 4}"

    @cached_property
    def train(self) -> osk.ImageSet:
        return osk.open(self._train)

    def folder(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.scratch))

    def resume(self, method: str) -> Mapping[str, Any]:
        options = needed(method, self.scratch, self.train, self._others, self.device)
        options = {"device": self.device.type, "batch_size": len(self.train) // 8, "lr": 0.01, **options}
        return check_resume(method, self.train, self.folder(), **options)

    def loop(self, method: str) -> None:
        options = {"batch_size": max(8, len(self.train) // 60), "lr": 0.01, **SMALL_QUEUES.get(method, {})}
        check_loop(method, self.train, self.folder() / "run", self.device, **options)

    def scores(self, method: str, detectors: Callable[[Path], Chosen]) -> Mapping[str, Any]:
        device, out = self.device, self.folder() / "run"
        run = osk.train(method, self.train, out=out, epochs=1, batch_size=32, device=device.type)
        images, others = self.train.limit(len(self.train) // 2), osk.open(self._others)
        chosen = detectors(run.path)
        return check_scores(osk.load(run.path), device, images, others, ("fp32", "bf16"), chosen)

    def diffusion(self) -> Mapping[str, Any]:
        # Here, so that a library which is missing stops nothing else.
        from outskirts.models.diffusion import DiffusionModel

        folder = small_generator(self.scratch / "generator", self.train, self.device)
        return check_diffusion(DiffusionModel.load(folder), self.device, self.train.limit(8))
