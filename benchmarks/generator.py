"""How many images a second the diffusion generator learns from and makes, and what bf16 and guidance do to it.

    python benchmarks/generator.py [--network small] [--side 32] [--channels 3] [--batch-size 128] [--rounds 5]

The forms are measured in turn. Guidance of 1 takes one evaluation of the network per step of sampling, any other two.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from outskirts.memory import keep_freed_memory
from outskirts.models.diffusion import SIZES, DiffusionModel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=list(SIZES), default="small")
    parser.add_argument("--side", type=int, default=32, help="pixels")
    parser.add_argument("--channels", type=int, choices=(1, 3), default=3)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=20, help="of sampling")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    keep_freed_memory()  # As the training loop does.
    draws = torch.Generator().manual_seed(0)
    model = DiffusionModel(given.network, [str(c) for c in range(10)], given.channels, given.side)
    shape = (given.batch_size, given.channels, given.side, given.side)
    images, labels = torch.rand(shape, generator=draws) * 2 - 1, torch.arange(given.batch_size) % 10
    model.fit_codec(images, labels)
    weights = sum(weight.numel() for weight in model.parameters()) / 1e6
    print(f"{given.network}, {weights:.1f} million weights, {torch.get_num_threads()} threads")

    def train(bf16: bool) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = model.loss(images, labels, draws)
        loss.backward()
        model.zero_grad()

    def sample(bf16: bool, guidance: float = 1.0) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            model.sample(
                model.prompts.vectors(labels).detach(), range(len(labels)), steps=given.steps, guidance=guidance
            )

    forms: dict[str, Callable[[], None]] = {
        "training, fp32": lambda: train(False),
        "training, bf16": lambda: train(True),
        "sampling, fp32": lambda: sample(False),
        "sampling, bf16": lambda: sample(True),
        "sampling, bf16, guidance 2": lambda: sample(True, 2.0),
    }
    times: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(1 + given.rounds):
        for name, form in forms.items():
            start = time.perf_counter()
            form()
            times[name].append(time.perf_counter() - start)
    # The first round only warms up.
    taken = {name: statistics.median(each[1:]) for name, each in times.items()}
    for name, seconds in taken.items():
        print(f"{name:28} {given.batch_size / seconds:7.1f} images/s")
    for task in ("training", "sampling"):
        print(f"{task}: bf16 is {taken[f'{task}, fp32'] / taken[f'{task}, bf16']:.2f} times as fast")
    print(f"guidance takes {taken['sampling, bf16, guidance 2'] / taken['sampling, bf16']:.2f} times as long")


if __name__ == "__main__":
    main()
