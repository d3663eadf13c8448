"""How fast a device trains, extracts and searches, beside what it could."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.autograd import DeviceType
from torch.nn.functional import cross_entropy
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

import outskirts as osk
from on_gpu.journal import Journal, synchronise
from outskirts.devices import repeatable
from outskirts.models.backbones import build_backbone
from outskirts.neighbours.exact import kth_distance
from outskirts.seeding import isolated
from outskirts.training.loop import TrainingProgress

__all__ = ["speed"]


@dataclass(frozen=True)
class Work:
    """What is trained for the measurement.

    Arguments:
        backbone: By name.
        side: Of the images, in pixels.
        batch: Images per step.
        steps: Measured.
        model: Makes a whole network, instead of the backbone.
    """

    backbone: str
    side: int
    batch: int
    steps: int
    model: Callable[[], nn.Module] | None = None

    @cached_property
    def images(self) -> osk.ImageSet:
        """Random pixels, for one step more than are looked at, and some for validation."""
        count = self.batch * (_WARM + self.steps + _PROFILED + 1) + 2 * _HELD
        pixels = np.random.default_rng(0).integers(0, 256, (count, self.side, self.side, 3), dtype=np.uint8)
        return osk.ImageSet(pixels, torch.arange(count) % 10, [str(c) for c in range(10)])


#: Steps before time counts, and those that are profiled after it; images held out for validation.
_WARM, _PROFILED, _HELD = 5, 5, 64

_GPU = {
    "fast": Work("fast", 32, 1024, 60),
    "resnet18-cifar": Work("resnet18-cifar", 32, 512, 30),
    "resnet50 at 224": Work("torchvision:resnet50", 224, 128, 20),
}
_CPU = {"fast": Work("fast", 32, 64, 4), "resnet18-cifar": Work("resnet18-cifar", 32, 16, 2)}


def _one_layer() -> nn.Module:
    with isolated(0, "network"):
        convolution, linear = nn.Conv2d(3, 8, 3, stride=4), nn.Linear(8, 10)
    return nn.Sequential(convolution, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear)


#: What a processor compiles, to show that it works: the others would take it minutes.
_COMPILED = Work("", 16, 16, 4, _one_layer)
_METHODS: Mapping[str, Mapping[str, Any]] = {
    "ce": {},
    "ascood": {"outliers": "shuffle"},
    "cider": {"views": 2},
    "npos": {"preset": "quick", "start": 0.0, "queue": 200},
}


def speed(journal: Journal) -> None:
    """Write down images a second and the like.

    Arguments:
        journal: Where; it says what is measured.
    """
    device, gpu = journal.device, journal.device.type == "cuda"
    works = _GPU if gpu else _CPU
    journal.measure("speed", "matrix product in bf16", lambda: _peak(device))
    first = next(iter(works))

    def trained(name: str) -> None:
        by_hand = f"{name}: hand-written loop on ready tensors"
        journal.measure("speed", by_hand, lambda: _by_hand(works[name], device), 3)
        for method, options in _METHODS.items():
            at = (journal, name, works[name], method, options)
            journal.measure("speed", f"{name}: train {method}", lambda at=at: _trained(*at), 3)
        works[name].__dict__.pop("images", None)  # They may take half a gigabyte.

    def compiled(name: str, work: Work, needs: float = 30) -> None:
        journal.measure("speed", f"{name}: compiled", lambda: _compiled(journal, work), needs)

    if not gpu:
        compiled("a network of one convolution", _COMPILED, 10)
    trained(first)
    journal.measure(
        "speed", "extraction from memory and from files", lambda: _extracted(device, 2048 if gpu else 128), 5
    )
    journal.measure("speed", "nearest neighbours", lambda: _neighbours(device, gpu), 5)
    journal.measure("speed", f"{first}: what repeatable bits cost", lambda: _free(works[first], device), 3)
    # Those of `train` come before the largest: whether compiling pays is to be known there.
    for name in works:
        if name != first:
            trained(name)
        if gpu:
            compiled(name, works[name])


def _timed(call: Callable[[], object], device: torch.device, repeats: int = 10) -> float:
    """Seconds of one call among several that follow each other without a wait, after two that warm up."""
    for _ in range(2):
        call()
    synchronise(device)
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    synchronise(device)
    return (time.perf_counter() - start) / repeats


def _peak(device: torch.device) -> dict[str, float]:
    side = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    return {"TFLOP/s": 2 * side**3 / _timed(lambda: a @ b, device) / 1e12}


def _network(work: Work, device: torch.device) -> nn.Module:
    backbone = build_backbone(work.backbone, 3, work.side)
    network = nn.Sequential(backbone.network, nn.Linear(backbone.dim, 10))
    return network.to(device).to(memory_format=torch.channels_last)


def _by_hand(work: Work, device: torch.device, exact: bool = True) -> dict[str, float]:
    """A loop as one would write it for a single measurement, on one batch that is there."""
    network = _network(work, device).train()
    fused = device.type == "cuda" or None
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, nesterov=True, fused=fused)
    images = torch.randn(work.batch, 3, work.side, work.side, device=device).contiguous(
        memory_format=torch.channels_last
    )
    labels = torch.arange(work.batch, device=device) % 10

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            logits = network(images)
        optimizer.zero_grad()
        cross_entropy(logits.float(), labels).backward()
        optimizer.step()

    if exact:
        with repeatable():
            seconds = _timed(step, device, max(3, work.steps // 3))
    else:
        torch.backends.cudnn.benchmark = True
        seconds = _timed(step, device, max(3, work.steps // 3))
        torch.backends.cudnn.benchmark = False
    return {"images/s": work.batch / seconds, "GFLOP an image": _flops(network, images[:2]) / 1e9}


def _flops(network: nn.Module, images: torch.Tensor) -> float:
    """Of a forward and a backward pass, for one image; the latter has twice the products of the former."""
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(images)
    return 3 * counter.get_total_flops() / len(images)


def _trained(journal: Journal, name: str, work: Work, method: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """`train`, data path and records included; validation is not."""
    device, marks, found = journal.device, list[float](), dict[str, Any]()
    gpu = device.type == "cuda"
    profiler = profile(activities=[ProfilerActivity.CUDA if gpu else ProfilerActivity.CPU])

    def mark(step: int, steps: int, latest: Mapping[str, Any]) -> None:
        if step in (_WARM, _WARM + work.steps):
            synchronise(device)
            marks.append(time.perf_counter())
        if step == _WARM + work.steps:
            found.update({"GPU utilisation, %": _utilisation(device)} if gpu else {})
            profiled.enter_context(profiler)
            marks.append(time.perf_counter())
        if step == _WARM + work.steps + _PROFILED:
            synchronise(device)
            marks.append(time.perf_counter())
            profiled.close()

    with tempfile.TemporaryDirectory() as folder, ExitStack() as profiled:
        _train(work, device, Path(folder), method, mark, **options)
    seconds, watched = (marks[1] - marks[0]) / work.steps, (marks[3] - marks[2]) / _PROFILED
    found = {"images/s": work.batch / seconds, **found}
    # The profiler slows the host down: kernels of a GPU, which take as long as ever, are beside the steps before.
    found["share of the time outside kernels"] = _outside(profiler, seconds if gpu else watched, gpu)
    by_hand = journal.done("speed", f"{name}: hand-written loop on ready tensors")
    peak = journal.done("speed", "matrix product in bf16")
    if by_hand:
        found["÷ loop by hand"] = found["images/s"] / by_hand["images/s"]
    if by_hand and peak and method == "ce":
        found["share of the matrix peak"] = found["images/s"] * by_hand["GFLOP an image"] / 1e3 / peak["TFLOP/s"]
    return found


def _outside(profiler: profile, seconds: float, gpu: bool) -> float:
    """The share of a step that no kernel takes: of a GPU, or torch's operations on the processor."""
    if gpu:
        kernels = [e.self_device_time_total for e in profiler.key_averages() if e.device_type == DeviceType.CUDA]
    else:
        kernels = [e.self_cpu_time_total for e in profiler.key_averages() if e.key.startswith("aten::")]
    if not kernels:
        raise RuntimeError("The profiler saw no kernel.")
    return max(0.0, 1 - sum(kernels) / 1e6 / _PROFILED / seconds)


def _utilisation(device: torch.device) -> float | str:
    """What the driver says of the last moments, by its library or else its tool."""
    try:
        return torch.cuda.utilization(device)
    except Exception:  # The library has errors of its own, and may not be installed.
        return _asked_tool(device.index or 0)


def _asked_tool(number: int) -> float | str:
    command = ["nvidia-smi", f"--id={number}", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    try:
        return float(subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return "not available"


def _train(
    work: Work, device: torch.device, folder: Path, method: str, mark: TrainingProgress, **options: Any
) -> osk.Run:
    """One epoch of all images but those of validation."""
    images = work.images
    return osk.train(
        method,
        images,
        val_fraction=_HELD / len(images),
        out=folder / "run",
        progress=mark,
        **{
            **({"model": work.model()} if work.model else {"backbone": work.backbone}),
            "size": work.side,
            "batch_size": work.batch,
            "epochs": 1,
            "lr": 1e-3,
            "precision": "bf16",
            "device": device.type,
            **options,
        },
    )


def _free(work: Work, device: torch.device) -> dict[str, float]:
    """The loop by hand without and with the promise of equal bits."""
    free, bound = (_by_hand(work, device, exact)["images/s"] for exact in (False, True))
    return {"images/s, any bits": free, "images/s, equal bits": bound, "ratio": bound / free}


def _compiled(journal: Journal, work: Work) -> dict[str, float]:
    """What compiling costs at first, what it gains later, and whether the losses agree."""
    plain = _course(work, journal.device, False)
    compiled = _course(work, journal.device, True)
    apart = max(abs(a - b) / max(abs(a), 1e-6) for a, b in zip(plain["losses"], compiled["losses"]))
    if apart > 0.05:
        raise AssertionError(f"Compiled, losses differ by {apart:.1%}: {plain['losses']} and {compiled['losses']}")
    return {
        "seconds at first": compiled["first"],
        "images/s": compiled["speed"],
        "÷ not compiled": compiled["speed"] / plain["speed"],
        "losses differ by": apart,
    }


def _course(work: Work, device: torch.device, compiled: bool) -> dict[str, Any]:
    times = []

    def mark(step: int, steps: int, latest: Mapping[str, Any]) -> None:
        if step in (1, _WARM, _WARM + work.steps):
            synchronise(device)
            times.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        run = _train(work, device, Path(folder), "ce", mark, compile=compiled)
        losses = [record["loss"] for record in run.records() if record["kind"] == "train"]
    first, warm, last = times
    return {"first": first - begun, "speed": work.batch * work.steps / (last - warm), "losses": losses}


def _extracted(device: torch.device, count: int) -> dict[str, float]:
    """Images a second of extraction at 224 pixels, from arrays and from JPEG files of 500 x 375."""
    backbone = "torchvision:resnet50" if device.type == "cuda" else "torchvision:mobilenet_v2"
    with tempfile.TemporaryDirectory() as folder:
        few = osk.ImageSet(np.zeros((40, 224, 224, 3), np.uint8), torch.arange(40) % 2, ["a", "b"])
        run = osk.train("ce", few, out=Path(folder) / "run", backbone=backbone, size=224, epochs=0, device=device.type)
        classifier = osk.load(run.path)
        draws = np.random.default_rng(0)
        small = draws.integers(0, 256, (8, 12, 16, 3), dtype=np.uint8)
        pictures = [Image.fromarray(pixels).resize((500, 375), Image.Resampling.BICUBIC) for pixels in small]
        (Path(folder) / "images" / "a").mkdir(parents=True)
        for number, picture in enumerate(pictures):
            picture.save(Path(folder) / f"{number}.jpg", quality=90)
        for number in range(count):
            shutil.copy(Path(folder) / f"{number % 8}.jpg", Path(folder) / "images" / "a" / f"{number}.jpg")
        sets = {
            "memory": osk.ImageSet(draws.integers(0, 256, (count, 224, 224, 3), dtype=np.uint8)),
            "files": osk.open(f"folder:{folder}/images"),
        }
        found = {}
        osk.extract(classifier, sets["memory"].limit(min(count, 500)), device=device, precision="bf16")
        for name, image_set in sets.items():
            start = time.perf_counter()
            osk.extract(classifier, image_set, device=device, precision="bf16")
            found[f"images/s from {name}"] = count / (time.perf_counter() - start)
    return found


def _neighbours(device: torch.device, gpu: bool) -> dict[str, float]:
    """Queries a second among 1.28 million vectors of 2,048 numbers (fewer on the host), beside plain products."""
    rows, dim, queries, k = (1_281_167, 2048, 4096, 50) if gpu else (20_000, 256, 256, 50)
    dtype = torch.float16 if gpu else torch.float32
    bank = torch.empty(rows, dim, device=device, dtype=dtype)
    for block in bank.split(100_000):
        block.copy_(nn.functional.normalize(torch.randn(len(block), dim, device=device), dim=1))
    asked = nn.functional.normalize(torch.randn(queries, dim, device=device), dim=1).to(dtype)

    def plain() -> torch.Tensor:
        return torch.cat([(part @ bank.T).topk(k, dim=1).values[:, -1] for part in asked.split(256)])

    found = {"plain, queries/s": queries / _timed(plain, device, 3)}
    found["ours, queries/s"] = queries / _timed(lambda: kth_distance(asked, bank, k, 2**30), device, 3)
    found["ratio"] = found["ours, queries/s"] / found["plain, queries/s"]
    return found
