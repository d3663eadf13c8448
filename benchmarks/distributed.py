"""What two processes of one thread train beside one process of two threads, on one machine's processor.

    python benchmarks/distributed.py [--backbone fast] [--batch-size 256] [--steps 10] [--rounds 7] [--precision auto]

Steps are those of cross-entropy on the same batch, whole in the one process and shared out between the two, which
average gradients and batch statistics over gloo. The two kinds take turns, while the other waits without work.
With --pin, each of the two keeps to a processor of its own (Linux).
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

import numpy as np
import torch
import torch.distributed as dist
from torch.multiprocessing import get_context
from torch.nn.parallel import DistributedDataParallel

from outskirts import seeding
from outskirts.data.imageset import ImageSet
from outskirts.data.loading.augment import parse_augmentations
from outskirts.data.loading.batches import training_batches
from outskirts.data.transform import Transform
from outskirts.devices import faster_precision
from outskirts.memory import keep_freed_memory
from outskirts.methods import registry
from outskirts.models.backbones import build_backbone
from outskirts.training.config import resolve_recipe
from outskirts.training.optimizers import optimizer_for
from outskirts.training.run import assemble
from outskirts.training.synchronised import synchronised

CLASSES = [str(i) for i in range(10)]
CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="fast")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=10, help="of each turn")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--precision", default="auto", choices=["auto", "bf16", "fp32"])
    parser.add_argument("--pin", action="store_true")
    given = parser.parse_args()
    given.precision = faster_precision(CPU) if given.precision == "auto" else given.precision
    print(f"{given.backbone}, batches of {given.batch_size}, {given.precision}")
    speeds: dict[str, list[float]] = {"one process of two threads": [], "two processes of one": []}
    with team(1, 2, given) as one, team(2, 1, given) as two:
        for turn in (one, two):
            turn()
        for _ in range(given.rounds):
            for name, turn in zip(speeds, (one, two)):
                speeds[name].append(given.batch_size * given.steps / turn())
    for name, found in speeds.items():
        print(f"{name:28} {statistics.median(found):7.0f} images/s   ({min(found):.0f}–{max(found):.0f})")
    alone, shared = map(statistics.median, speeds.values())
    print(f"ratio of the medians: {shared / alone:.3f}")


@contextmanager
def team(world: int, threads: int, given: argparse.Namespace) -> Iterator[Callable[[], float]]:
    """Processes that train together; the call takes so many steps and returns the seconds."""
    context = get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        pipes = [context.Pipe() for _ in range(world)]
        members = [
            context.Process(target=member, args=(rank, world, threads, given, f"file://{folder}/meeting", far))
            for rank, (_, far) in enumerate(pipes)
        ]
        for process, (_, far) in zip(members, pipes):
            process.start()
            far.close()  # The member's own is the last one then: a member that fails is not waited for.

        def turn() -> float:
            for near, _ in pipes:
                near.send(given.steps)
            return max(near.recv() for near, _ in pipes)

        try:
            yield turn
        finally:
            for process in members:
                process.terminate()
                process.join()


def member(rank: int, world: int, threads: int, given: argparse.Namespace, meeting: str, orders: Connection) -> None:
    """One process: trains so many steps whenever told to."""
    torch.set_num_threads(threads)
    if given.pin and world > 1:
        os.sched_setaffinity(0, {rank})
    keep_freed_memory()  # As the training loop does.
    warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)  # And this.
    if world > 1:
        dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=world)
    step = training(rank, world, given)
    while True:
        steps = orders.recv()
        start = time.perf_counter()
        for _ in range(steps):
            step()
        orders.send(time.perf_counter() - start)


def training(rank: int, world: int, given: argparse.Namespace) -> Callable[[], None]:
    """Whole steps as the loop takes them, from the batch to the weights."""
    pixels = np.random.default_rng(0).integers(0, 256, (10 * given.batch_size, 32, 32, 3), dtype=np.uint8)
    images, transform = ImageSet(pixels, torch.arange(len(pixels)) % 10, CLASSES), Transform(32)
    options = {"batch_size": given.batch_size, "epochs": 10_000, "seed": 0, "device": CPU, "rank": rank, "world": world}
    stream = training_batches(images, transform, parse_augmentations("flip,crop:2", 32), **options).start(0)
    recipe = resolve_recipe("ce", {"lr": 0.01})
    with seeding.isolated(0):
        classifier = assemble(recipe, build_backbone(given.backbone, 3, 32), transform, CLASSES)
    method = registry["ce"](recipe.settings, classifier).train().to(memory_format=torch.channels_last)
    optimizer = optimizer_for(method, recipe.training)
    model = DistributedDataParallel(method, broadcast_buffers=False) if world > 1 else method

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=given.precision == "bf16"), synchronised():
            loss = model(next(stream))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


if __name__ == "__main__":
    main()
