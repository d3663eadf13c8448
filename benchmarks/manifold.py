"""What the manifolds of classes cost beside the published form: an epoch of the fit, and the sampling.

    python benchmarks/manifold.py [--dim 768] [--classes 100] [--samples 50000] [--steps 2] [--rounds 3]

Fits are measured in turn on a few steps, of 512 embeddings with Cayley rotations and one step on both losses, and of 64
with matrix exponentials and a step on each; seconds are scaled to an epoch of the same embeddings. The plain sampling
draws 3,330 points ten times and keeps the ten least likely, class by class; neither includes the inverse map.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.distributions import MultivariateNormal
from torch.optim import Adam

from outskirts.generation.manifold.class_gaussians import ClassGaussians, directions
from outskirts.generation.manifold.fitting import train_step, train_step_published
from outskirts.generation.manifold.model import ManifoldOptions
from outskirts.memory import keep_freed_memory
from outskirts.models.volume_preserving import VolumePreserving
from outskirts.synthesis.gaussian import largest_squares

DRAWS, KEEP = 3330, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--classes", type=int, default=100, help="of the fit")
    parser.add_argument("--samples", type=int, default=50_000, help="embeddings in an epoch")
    parser.add_argument("--steps", type=int, default=2, help="measured at a time")
    parser.add_argument("--sampled-classes", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    keep_freed_memory()  # As the training loop does.
    print(f"{given.dim} dimensions, {given.classes} classes, {torch.get_num_threads()} threads")

    own = fit(given.dim, given.classes, ManifoldOptions(), given.steps)
    published = fit(given.dim, given.classes, ManifoldOptions.published(), given.steps)
    compare("epoch", given.rounds, own, published, given.samples / given.steps)

    generator = torch.Generator().manual_seed(0)
    gaussians = ClassGaussians([str(c) for c in range(given.sampled_classes)], given.dim, 0, torch.float32)
    mixing = torch.randn(given.sampled_classes, given.dim, given.dim, generator=generator)
    gaussians.factor.copy_(torch.linalg.cholesky(mixing @ mixing.mT / given.dim + 0.1 * torch.eye(given.dim)))
    compare("sampling", given.rounds, lambda: direct(gaussians, generator), lambda: plain(gaussians, generator))


def fit(dim: int, classes: int, options: ManifoldOptions, steps: int) -> Callable[[], int]:
    """What takes the steps and returns the size of a batch."""
    network = VolumePreserving(dim, classes, options.blocks, reference_quirks=options.reference_quirks)
    optimizer = Adam(network.parameters(), options.lr)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(options.batch_size, dim, generator=generator)
    labels = torch.randint(classes, (options.batch_size,), generator=generator)
    step = train_step_published if options.reference_quirks else train_step

    def run() -> int:
        for _ in range(steps):
            step(network, optimizer, x, labels, dim // 8)
        return len(x)

    return run


def direct(gaussians: ClassGaussians, generator: Generator) -> int:
    count, dim = gaussians.means.shape
    squares = largest_squares((count * 10, KEEP), DRAWS, dim, generator).double().view(count, -1)
    gaussians.place(directions(squares, dim, generator), torch.arange(count))
    return 1


def plain(gaussians: ClassGaussians, generator: Generator) -> int:
    for mean, factor in zip(gaussians.means, gaussians.factor):
        law = MultivariateNormal(mean, scale_tril=factor)
        kept: list[Tensor] = []
        for _ in range(10):
            points = mean + torch.randn(DRAWS, len(mean), generator=generator) @ factor.T
            kept.append(points[law.log_prob(points).topk(KEEP, largest=False).indices])
        torch.cat(kept)
    return 1


def compare(what: str, rounds: int, own: Callable[[], int], other: Callable[[], int], scale: float = 1.0) -> None:
    """Run both in turn, after a first call of each that does not count."""
    times = [(seconds(own) * scale, seconds(other) * scale) for _ in range(rounds + 1)][1:]
    fast, slow = (statistics.median(column) for column in zip(*times))
    ratio = statistics.median(b / a for a, b in times)
    print(f"{what:9} ours {fast:10.3f} s   published {slow:10.3f} s   ratio {ratio:.1f}")


def seconds(call: Callable[[], int]) -> float:
    """Divided by what the call returns."""
    start = time.perf_counter()
    size = call()
    return (time.perf_counter() - start) / size


if __name__ == "__main__":
    main()
