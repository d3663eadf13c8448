"""Is what a device computes right, and the same at every call?"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

import outskirts as osk
from on_gpu.journal import Journal
from outskirts.data.transform import Transform
from outskirts.methods import registry
from outskirts.testing.device import (
    SMALL_QUEUES,
    check_agreement,
    check_batches,
    check_diffusion,
    check_loop,
    check_resume,
    check_scores,
    check_waits,
)

__all__ = ["check"]

#: The methods that matter most come first, as there may not be time for all.
_FIRST = ("ce", "ascood", "cider", "npos", "ncis")


def check(journal: Journal, data: Path, images: int, only: Sequence[str] = ()) -> None:
    """Write down whether everything comes out as on the host.

    Arguments:
        journal: Where.
        data: The folder of Parquet files.
        images: To train on.
        only: Methods; all unless given.
    """
    device = journal.device
    methods = only or [*_FIRST, *(name for name in registry.names() if name not in _FIRST)]
    train = osk.open(f"parquet:{data / 'cifar10-train.parquet'}?limit={images}")
    others = f"parquet:{data / 'cifar100-test.parquet'}?limit={images // 4}"
    scratch = Path(tempfile.mkdtemp(prefix="outskirts-check-"))

    def of(method: str, call: Callable[..., Any], **options: Any) -> Callable[[], Mapping[str, Any]]:
        return lambda: call(method, device=device, **options) or {}

    needed: dict[str, Callable[[], Mapping[str, Any]]] = {
        "ncis": lambda: {"outlier_images": others},
        "dream": lambda: {"anchors": str(_generator(scratch, train, device)), "embedding": 64},
        "npos-clip": lambda: {"backbone": f"clip:{_clip(scratch)}", "augment": "none"},
    }

    def resumed(method: str) -> Mapping[str, Any]:
        options = needed.get(method, dict)()
        folder = Path(tempfile.mkdtemp(dir=scratch))
        return check_resume(method, train, folder, device=device.type, batch_size=images // 8, lr=0.01, **options)

    def resume(method: str) -> None:
        name = f"{method}: an epoch of {images} images, resumed bit-equal"
        journal.measure("check", name, lambda: resumed(method), 3)

    for method in methods:
        journal.measure("check", f"{method}: fp32 as on the host", of(method, check_agreement))
    for method in methods:
        journal.measure("check", f"{method}: bf16 near fp32 of the host", of(method, check_agreement, precision="bf16"))
    for method in methods[: len(_FIRST)]:
        resume(method)
    if device.type == "cuda":
        for method in methods:
            journal.measure("check", f"{method}: the host never waits", of(method, check_waits))
        journal.measure("check", "batches: the host never waits", lambda: check_batches(device) or {})
        for method in ("ce", "ascood", "cider", "npos", "vos"):
            name = f"{method}: a training waits for its records alone"
            journal.measure(
                "check", name, lambda at=method: _loop(at, train, Path(tempfile.mkdtemp(dir=scratch)), device)
            )
    for method in methods[len(_FIRST) :]:
        resume(method)
    journal.measure("check", "diffusion: training, sampling, inversion", lambda: _diffusion(scratch, train, device), 5)
    journal.measure("check", "evaluation: every detector", lambda: _scores(scratch, train, others, device), 5)
    for method, detectors in {"npos": ("ood_head", "mcm"), "godin": ("godin",)}.items():
        name = f"evaluation: detectors of {method}'s head"
        at = (scratch, train, others, device, method, detectors)
        journal.measure("check", name, lambda at=at: _scores(*at), 3)


def _loop(method: str, train: osk.ImageSet, folder: Path, device: torch.device) -> Mapping[str, Any]:
    options = {"batch_size": max(8, len(train) // 60), "lr": 0.01, **SMALL_QUEUES.get(method, {})}
    check_loop(method, train, folder / "run", device, **options)
    return {}


def _scores(
    scratch: Path,
    train: osk.ImageSet,
    others: str,
    device: torch.device,
    method: str = "ce",
    detectors: Literal["all"] | Sequence[str] = "all",
) -> Mapping[str, Any]:
    out = Path(tempfile.mkdtemp(dir=scratch)) / "run"
    classifier = osk.load(osk.train(method, train, out=out, epochs=1, batch_size=32, device=device.type).path)
    found: dict[str, Any] = {}
    for precision in ("fp32", "bf16"):
        for name, value in check_scores(
            classifier,
            device,
            train.limit(len(train) // 2),
            osk.open(others),
            precision,  # type: ignore[arg-type]
            detectors,
        ).items():
            found[f"{precision} {name}"] = value
    return found


# What takes other libraries is imported here, so that one which is missing stops nothing else.


def _clip(scratch: Path) -> Path:
    from outskirts.testing.clip import save_small_clip

    return save_small_clip(scratch / "clip")


def _generator(scratch: Path, train: osk.ImageSet, device: torch.device) -> Path:
    """The folder of a small diffusion model, trained for two steps."""
    from outskirts.generation.generators.diffusion import Diffusion, DiffusionConfig

    folder = scratch / "generator"
    config = DiffusionConfig(network="tiny", epochs=1, batch_size=32, device=device.type, precision="fp32")
    Diffusion(config).fit(train.limit(64), Transform(16), folder, lambda step, steps, latest: None)
    return folder


def _diffusion(scratch: Path, train: osk.ImageSet, device: torch.device) -> Mapping[str, Any]:
    from outskirts.models.diffusion import DiffusionModel

    model = DiffusionModel.load(_generator(scratch, train, device))
    return check_diffusion(model, device, train.limit(8))
