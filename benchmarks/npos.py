"""What NPOS's synthesis adds to a step of the embedding it trains.

    python benchmarks/npos.py [--backbone resnet18-cifar] [--classes 100] [--batch-size 512] [--steps 3]

Steps with and without outliers alternate; queues are full in both.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from outskirts import seeding
from outskirts.data.loading.batches import Batch
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
    parser.add_argument("--backbone", default="resnet18-cifar")
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--precision", default="auto", choices=["auto", "bf16", "fp32"])
    given = parser.parse_args()
    keep_freed_memory()  # As the training loop does.
    precision = faster_precision(torch.device("cpu")) if given.precision == "auto" else given.precision
    print(
        f"{given.backbone}, {given.classes} classes, batches of {given.batch_size}, two views, {precision}, "
        f"{torch.get_num_threads()} threads"
    )
    methods = {
        "embedding alone": made(given, 1.0, 0),
        "with outliers of all classes": made(given, 0.0, 0),
        "with outliers of a fifth of them": made(given, 0.0, given.classes // 5),
    }
    taken: dict[str, list[float]] = {name: [] for name in methods}
    for round_ in range(1 + given.steps):
        for name, method in methods.items():
            seconds = step_time(method, batch(given), precision)
            if round_:  # The first warms up.
                taken[name].append(seconds)
    base = taken["embedding alone"]
    for name, times in taken.items():
        ratios = [own / other for own, other in zip(times, base)]
        print(f"{name:34} {statistics.median(ratios):5.2f} of a step  ({min(ratios):.2f}–{max(ratios):.2f})")


def made(given: argparse.Namespace, start: float, classes_per_step: int) -> Method:
    """NPOS with full queues."""
    options = {"backbone": given.backbone, "start": start, "classes_per_step": classes_per_step, "keep": 200}
    recipe = resolve_recipe("npos", options)
    with seeding.isolated(0, "benchmark"):
        backbone = build_backbone(given.backbone, 3, 32)
        classifier = assemble(recipe, backbone, Transform(32), [str(i) for i in range(given.classes)])
        method = registry["npos"](recipe.settings, classifier)
        for _ in range(2):
            rows = 500 * given.classes
            method.fill_queue(torch.randn(rows, backbone.dim).abs(), torch.arange(rows) % given.classes)
    return method.train().to(memory_format=torch.channels_last)


def batch(given: argparse.Namespace) -> Batch:
    views = tuple(
        torch.randn(given.batch_size, 3, 32, 32).contiguous(memory_format=torch.channels_last) for _ in range(2)
    )
    labels = torch.arange(given.batch_size) % given.classes
    return Batch(views, labels, epoch=1, epochs=2, generator=torch.Generator().manual_seed(0))


def step_time(method: Method, images: Batch, precision: str) -> float:
    """Seconds of forward, backward and update."""
    optimizer = optimizer_for(method, resolve_recipe("npos", {"lr": 1e-4}).training)
    start = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        loss = method(images)["loss"]
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
