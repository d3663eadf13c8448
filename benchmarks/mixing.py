"""What synthetic images cost: drawing them beside real ones, and opening a pool of a million.

    python benchmarks/mixing.py [--images 50000] [--batch-size 256] [--steps 100] [--pool 1000000]

Steps are those of cross-entropy on the fast backbone; the published form decides of every image by a search through the
list of real ones whether it is real.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from outskirts.data.imageset import ImageSet
from outskirts.data.loading.augment import Compose
from outskirts.data.loading.batches import Batch, Batches, training_batches
from outskirts.data.loading.mixed_sampler import Mixing
from outskirts.data.sources import open as open_images
from outskirts.data.sources.pool import PoolWriter
from outskirts.data.transform import Transform
from outskirts.devices import faster_precision
from outskirts.memory import keep_freed_memory
from outskirts.methods import registry
from outskirts.models.backbones import build_backbone
from outskirts.training.config import resolve_recipe
from outskirts.training.run import assemble

CLASSES = [str(i) for i in range(10)]
CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--pool", type=int, default=1_000_000)
    given = parser.parse_args()
    keep_freed_memory()  # As the training loop does.
    with tempfile.TemporaryDirectory() as folder:
        pool = opened(Path(folder) / "pool", given.pool)
        drawing(given, pool)


def opened(folder: Path, count: int) -> ImageSet:
    """A pool of random images, and what opening it takes."""
    writer = PoolWriter(folder, count, (3, 32, 32), CLASSES, [], {"generator": {"name": "noise"}})
    block = torch.randint(0, 256, (10_000, 3, 32, 32), dtype=torch.uint8)
    for start in range(0, count, len(block)):
        rows = min(len(block), count - start)
        writer.add(block[:rows], torch.arange(rows) % 10, torch.arange(rows) % 10)
    writer.finish()
    del writer
    before, start = resident(), time.perf_counter()
    pool = open_images(f"pool:{folder}")
    seconds = time.perf_counter() - start
    print(f"opening {count:,} images: {seconds:.3f} s, {(resident() - before) / 2**20:.0f} MiB more memory")
    return pool


def drawing(given: argparse.Namespace, pool: ImageSet) -> None:
    """Drawing batches, with and without a pool, beside a training step."""
    pixels = np.random.default_rng(0).integers(0, 256, (given.images, 32, 32, 3), np.uint8)
    real = ImageSet(pixels, torch.arange(given.images) % 10, CLASSES)
    made = {"real alone": batches(given, real, None), "with a fifth of the pool": batches(given, real, pool)}
    taken: dict[str, list[float]] = {name: [] for name in made}
    streams: dict[str, Iterator[Batch]] = {name: each.start(0) for name, each in made.items()}
    for _ in range(given.steps):
        for name, stream in streams.items():
            start = time.perf_counter()
            batch = next(stream)
            taken[name].append(time.perf_counter() - start)
    step = training_step(batch)
    names = list(range(given.images))
    start = time.perf_counter()
    for number in made["with a fifth of the pool"].sampler.indices(0).tolist():
        number in names  # noqa: B015
    published = time.perf_counter() - start
    print(f"a training step: {1000 * step:.1f} ms")
    for name, times in taken.items():
        print(
            f"drawing, {name:26} {1000 * statistics.median(times):6.2f} ms, "
            f"{statistics.median(times) / step:6.2%} of a step"
        )
    more = statistics.median(b - a for a, b in zip(*taken.values()))
    print(f"mixing adds {more / step:.2%} of a step; the published search alone {published / step:.1%}")


def batches(given: argparse.Namespace, real: ImageSet, pool: ImageSet | None) -> Batches:
    """Batches of the real images, and of the pool if there is one."""
    return training_batches(
        real,
        Transform(32),
        Compose(),
        batch_size=given.batch_size,
        epochs=10,
        seed=0,
        device=CPU,
        pool=pool,
        mixing=Mixing(0.8),
    )


def training_step(batch: Batch, rounds: int = 5) -> float:
    """Seconds of a step of cross-entropy."""
    backbone = build_backbone("fast", 3, 32)
    recipe = resolve_recipe("ce", {"backbone": "fast"})
    method = registry["ce"](recipe.settings, assemble(recipe, backbone, Transform(32), CLASSES))
    method.train().to(memory_format=torch.channels_last)
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=faster_precision(CPU) == "bf16"):
            loss = method(batch)["loss"]
        loss.backward()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def resident() -> int:
    """Bytes of this process in memory, mapped files apart."""
    fields = Path("/proc/self/status").read_text() if Path("/proc/self/status").is_file() else ""
    for line in fields.splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
