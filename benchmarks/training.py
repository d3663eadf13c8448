"""What the data path and outlier synthesis cost beside a step of cross-entropy.

    python benchmarks/training.py [--backbone fast] [--batch-size 256] [--steps 20] [--precision auto]

Steps of the compared kinds alternate, so that a slow moment of the machine meets all of them.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from outskirts import seeding
from outskirts.data.imageset import ImageSet
from outskirts.data.loading.augment import parse_augmentations
from outskirts.data.loading.batches import Batch, training_batches
from outskirts.data.transform import Transform
from outskirts.devices import faster_precision
from outskirts.memory import keep_freed_memory
from outskirts.methods import Method, registry
from outskirts.models.backbones import build_backbone
from outskirts.training.config import resolve_recipe
from outskirts.training.optimizers import optimizer_for
from outskirts.training.run import assemble


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="fast")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--precision", default="auto", choices=["auto", "bf16", "fp32"])
    parser.add_argument("--return-memory", action="store_true", help="leave the C library's memory as it is")
    given = parser.parse_args()
    device = torch.device("cpu")
    if not given.return_memory:
        keep_freed_memory()  # As the training loop does.
    precision = faster_precision(device) if given.precision == "auto" else given.precision
    print(f"{given.backbone}, batches of {given.batch_size}, {precision}, {torch.get_num_threads()} threads")

    pixels = np.random.default_rng(0).integers(0, 256, (10 * given.batch_size, 32, 32, 3), dtype=np.uint8)
    labels = torch.arange(len(pixels)) % 10
    images = ImageSet(pixels, labels, [str(i) for i in range(10)])
    transform = Transform(32)
    batches = training_batches(
        images,
        transform,
        parse_augmentations("flip,crop:2", 32),
        batch_size=given.batch_size,
        epochs=1 + given.steps // 10,
        seed=0,
        device=device,
    )
    steps = {
        name: stepper(method(name, given.backbone, transform, **options), precision)
        for name, options in {
            "ce": {},
            "ascood": {"outliers": "gradient", "alpha_max": 1.0, "alpha_min": 1.0},
            "ascood (shuffle)": {"outliers": "shuffle"},
            "ascood (random-shuffle)": {"outliers": "random-shuffle"},
        }.items()
    }
    stream = batches.start(0)
    ready = next(stream)
    for step in steps.values():
        step(ready)
    times: dict[str, list[float]] = {name: [] for name in ["ce, batch made on the way", *steps]}
    for _ in range(given.steps):
        times["ce, batch made on the way"].append(seconds(lambda: steps["ce"](next(stream))))
        for name, step in steps.items():
            times[name].append(seconds(lambda step=step: step(ready)))
    base = times["ce"]
    for name, taken in times.items():
        ratios = [own / other for own, other in zip(taken, base)]
        spread = statistics.quantiles(ratios, n=10)
        print(
            f"{name:28} {given.batch_size * len(taken) / sum(taken):7.0f} images/s   "
            f"÷ ce on ready tensors: {sum(taken) / sum(base):.3f}  (deciles {spread[0]:.2f}–{spread[-1]:.2f})"
        )


def method(name: str, backbone: str, transform: Transform, **options: object) -> Method:
    recipe = resolve_recipe(name.split()[0], options)
    with seeding.isolated(0):
        classifier = assemble(recipe, build_backbone(backbone, 3, 32), transform, [str(i) for i in range(10)])
        return registry[recipe.method](recipe.settings, classifier).to(memory_format=torch.channels_last)


def stepper(method: Method, precision: str) -> Callable[[Batch], None]:
    """One whole training step, as the loop does it."""
    optimizer = optimizer_for(method, resolve_recipe("ce", {"lr": 0.01}).training)
    method.train()

    def step(batch: Batch) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = method(batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def seconds(call: Callable[[], None]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
