"""What decoding images while the network is busy saves over doing both in turn, and what memory that is reused saves.

    python benchmarks/decoding.py [--part turns|memory|all] [--images 1000] [--rounds 5] [--width 500] [--height 375]

JPEG files of smooth noise with grain, made in a temporary folder, as large as photographs usually are. ``turns``: all
images decoded and then forwarded, as extraction once did, beside batches that are decoded ahead; features are the
same to the bit. ``memory``: the same pass in processes of their own, which give memory back when it is free, keep it as
extraction does on the CPU, or get it in large pages too, as the command line asks. Ratios are of rounds side by side;
a processor that both parts keep busy has little to gain from the overlap, a graphics card has.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from outskirts import Classifier
from outskirts.data.imageset import ImageSet
from outskirts.data.loading.ahead import batches
from outskirts.data.sources import open as open_images
from outskirts.data.transform import Transform
from outskirts.devices import resolve_device, sent
from outskirts.extraction.transfer import to_host
from outskirts.memory import keep_freed_memory
from outskirts.models.backbones import build_backbone
from outskirts.models.heads import LinearHead

NETWORKS = (("fast", 64), ("torchvision:mobilenet_v2", 224))
BATCH = 250


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=["turns", "memory", "all"], default="all")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--width", type=int, default=500)
    parser.add_argument("--height", type=int, default=375)
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    device = resolve_device(given.device)
    with tempfile.TemporaryDirectory() as folder:
        photographs(Path(folder), given.images, given.width, given.height)
        for name, size in NETWORKS:
            if given.part != "memory":
                turns(name, size, folder, device, given.rounds)
            if given.part != "turns" and device.type == "cpu":
                memory(name, size, folder, given.rounds)


def photographs(folder: Path, count: int, width: int, height: int) -> None:
    """Smooth noise of four scales, and grain."""
    for number in range(count):
        random = np.random.default_rng(number)
        pixels = 128 + 10 * random.standard_normal((height, width, 1))
        for cells in (4, 16, 64, 250):
            noise = random.standard_normal((3, cells * 3 // 4 + 1, cells)).astype(np.float32) * 40 / cells**0.35
            scaled = [Image.fromarray(n).resize((width, height), Image.Resampling.BICUBIC) for n in noise]
            pixels = pixels + np.stack(scaled, axis=2)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.jpg", quality=85)


def turns(name: str, size: int, folder: str, device: torch.device, rounds: int) -> None:
    """Decoding ahead beside decoding first, in one process."""
    if device.type == "cpu":
        keep_freed_memory()  # As extraction does.
    images, model = open_images(f"folder:{folder}"), classifier(name, size, device)

    def first() -> Tensor:
        pixels, labels = images.resident(model.transform)
        return features(model, zip(pixels.split(BATCH), labels.split(BATCH)), device)

    def ahead() -> Tensor:
        return features(model, batches(images, model.transform, BATCH), device)

    assert torch.equal(first(), ahead())
    shown(f"{name} at {size}", len(images), {"in turn": first, "decoded ahead": ahead}, rounds)


def memory(name: str, size: int, folder: str, rounds: int) -> None:
    """The pass in new processes, by how the C library and torch take memory from the system."""

    def process(keep: bool, large: bool) -> float:
        os.environ["THP_MEM_ALLOC_ENABLE"] = str(int(large))
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            return pool.apply(alone, (name, size, folder, keep))

    ways: dict[str, Callable[[], float]] = {
        "given back": lambda: process(False, False),
        "kept": lambda: process(True, False),
        "kept, in large pages": lambda: process(True, True),
    }
    shown(f"{name} at {size}, memory", len(os.listdir(folder)), ways, rounds)


def alone(name: str, size: int, folder: str, keep: bool) -> float:
    """Seconds of a pass in this process, after a first batch."""
    if keep:
        keep_freed_memory()
    cpu = torch.device("cpu")
    images, model = open_images(f"folder:{folder}"), classifier(name, size, cpu)
    some: ImageSet = images.limit(BATCH)
    features(model, batches(some, model.transform, BATCH), cpu)
    start = time.perf_counter()
    features(model, batches(images, model.transform, BATCH), cpu)
    return time.perf_counter() - start


def classifier(name: str, size: int, device: torch.device) -> Classifier:
    torch.manual_seed(0)
    backbone = build_backbone(name, 3, size)
    model = Classifier(backbone, LinearHead(nn.Linear(backbone.dim, 10)), Transform(size), list("0123456789"))
    return model.to(device).eval().to(memory_format=torch.channels_last)


def features(model: Classifier, found: Iterable[tuple[Tensor, Tensor]], device: torch.device) -> Tensor:
    def passes() -> Iterator[tuple[None, dict[str, dict[str, Tensor]]]]:
        for pixels, _ in found:
            images = model.transform.device(sent(pixels, device)).contiguous(memory_format=torch.channels_last)
            yield None, {"pass": {"features": model.features(images)}}

    with torch.no_grad():
        return torch.cat([of["pass"]["features"] for _, of in to_host(passes(), device)])


def shown(title: str, images: int, ways: dict[str, Callable[[], object]], rounds: int) -> None:
    """Measure some ways in turn; what a way returns counts, if it is a number of seconds."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            returned = way()
            taken[name].append(returned if isinstance(returned, float) else time.perf_counter() - start)
    base = next(iter(taken.values()))
    print(title)
    for name, times in taken.items():
        ratios = sorted(b / t for b, t in zip(base, times))
        print(
            f"  {name:22} {1000 * statistics.median(times) / images:6.2f} ms an image, "
            f"{statistics.median(ratios):.2f} times as fast ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )


if __name__ == "__main__":
    main()
