"""What scheduling and reporting cost beside the runs of a matrix.

    python benchmarks/matrix.py [--images 4000] [--epochs 4]

Two methods with two seeds by `outskirts benchmark`, as a user calls it, and all detectors that need no pass of their
own. The time of the runs is what they themselves write down; the rest is reading the benchmark, planning, and tables.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from outskirts.benchmarking.matrix import Matrix
from outskirts.benchmarking.run_job import record
from outskirts.commands.benchmark import main as benchmark
from outskirts.detectors import registry


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--epochs", type=int, default=4)
    given = parser.parse_args()
    detectors = [name for name in registry.names() if not registry[name]().probes]
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        _write(root / "train", given.images)
        _write(root / "test", given.images // 2)
        for name in ("near", "far"):
            _write(root / name, given.images // 4, classes=0)
        file = root / "noise.yaml"
        file.write_text(
            yaml.safe_dump(
                {
                    "train": "train",
                    "test": "test",
                    "ood": {"near": {"near": "near"}, "far": {"far": "far"}},
                    "recipes": {"all": {"epochs": given.epochs}},
                }
            )
        )
        asked = ["--methods", "ce,logitnorm", "--seeds", "0-1", "--detectors", *detectors, "--out", str(root / "out")]
        start = time.monotonic()
        benchmark([str(file), *asked])
        whole = time.monotonic() - start
        runs = sum(record(cell).seconds for cell in Matrix.load(root / "out").cells)
    rest = whole - runs
    print(f"{whole:.1f} s, of which {rest:.2f} s are scheduling and reporting: {100 * rest / whole:.2f} %")


def _write(folder: Path, count: int, classes: int = 4) -> None:
    """Noise about a colour for each class, so that there is something to learn."""
    random = np.random.default_rng(count)
    for i in range(count):
        of = folder / str(i % classes) if classes else folder
        of.mkdir(parents=True, exist_ok=True)
        colour = 60 + 40 * (i % classes if classes else 2)
        pixels = (colour + random.normal(0, 40, (32, 32, 3))).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(of / f"{i}.png")


if __name__ == "__main__":
    main()
