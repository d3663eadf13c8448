"""What embedding an image costs, and gains, beside the published way of it.

    python benchmarks/inversion.py --model POOL/generator --data SPEC [--images 64] [--rounds 3] [--precision fp32]

The published way takes images one at a time, with three steps of 32 independent draws each; ours takes them together,
with 8 draws in pairs. Both are measured in turn, and judged by how much of the loss they save on many draws of neither.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch
from torch import Tensor

import outskirts as osk
from outskirts.generation.diffusion.embeddings import Embedder
from outskirts.generation.diffusion.inversion import Inversion
from outskirts.memory import keep_freed_memory
from outskirts.models.diffusion.load_model import load_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of a generator trained here, or of a Stable Diffusion")
    parser.add_argument("--data", required=True, help="images of its classes, as a spec")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=64, help="images at once")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    given = parser.parse_args()
    keep_freed_memory()
    images = osk.open(given.data).limit(given.images)
    model = load_model(Path(given.model), images.classes).requires_grad_(False)
    ours = Embedder(model, Inversion(), given.precision)
    published = Embedder(model, Inversion(draws=32, paired=False))
    pixels, labels = images.resident(ours.transform)
    starts = model.prompts.starts(labels)
    judged = list(range(10_000, 10_000 + len(images)))

    def alone() -> Tensor:
        rows = [published(pixels[i : i + 1], labels[i : i + 1], [i])[0] for i in range(len(images))]
        return torch.cat(rows)

    def together() -> Tensor:
        parts = torch.arange(len(images)).split(given.batch_size)
        return torch.cat([ours(pixels[part], labels[part], part.tolist())[0] for part in parts])

    forms = {"one at a time, 32 draws": alone, f"{given.batch_size} together, 8 in pairs": together}
    times: dict[str, list[float]] = {name: [] for name in forms}
    gains: dict[str, float] = {}
    before = ours.loss_under(pixels, starts, judged).sum()
    for _ in range(1 + given.rounds):
        for name, form in forms.items():
            start = time.perf_counter()
            vectors = form()
            times[name].append(time.perf_counter() - start)
            gains[name] = float(1 - ours.loss_under(pixels, vectors, judged).sum() / before)
    print(f"{len(images)} images of {model.side} pixels, {torch.get_num_threads()} threads, {given.precision}")
    # The first round only warms up.
    taken = {name: statistics.median(each[1:]) for name, each in times.items()}
    for name, seconds in taken.items():
        print(
            f"{name:26} {1000 * seconds / len(images):8.1f} ms an image, {100 * gains[name]:5.2f} % of the loss saved"
        )
    slow, fast = forms
    print(f"{taken[slow] / taken[fast]:.1f} times as fast, {100 * gains[fast] / gains[slow]:.0f} % of the gain")


if __name__ == "__main__":
    main()
