"""What batching saves in NPOS: synthesis at the edge of every class, and the queues it reads.

    python benchmarks/boundary.py [--classes 100] [--rows 1000] [--dim 512] [--picks 2] [--rounds 5]

The compared forms make the same thing in turn. The plain ones go class by class and image by image, as the papers'
pseudo-code does; nothing in them is slow on purpose.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.nn.functional import normalize

from outskirts.synthesis import BoundarySynthesizer, ClassQueue


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--rows", type=int, default=1000, help="features per class")
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--picks", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=512, help="features pushed at once")
    parser.add_argument("--memory-budget", type=int, default=BoundarySynthesizer.budget, help="bytes")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    synthesizer = BoundarySynthesizer(picks=given.picks, budget=given.memory_budget)
    features = torch.randn(given.classes, given.rows, given.dim, generator=generator)
    filled = torch.full((given.classes,), given.rows)
    print(f"{given.classes} classes of {given.rows} × {given.dim}, {torch.get_num_threads()} threads")
    compare(
        "synthesis",
        given.rounds,
        batched=lambda: synthesizer(features, filled, generator),
        plain=lambda: plain_synthesis(features, synthesizer, generator),
    )
    queue = ClassQueue(given.classes, given.rows, given.dim)
    queue.values.copy_(features)
    queue.written.fill_(given.rows)
    queues = list(features.unbind())
    batch = torch.randn(given.batch_size, given.dim, generator=generator)
    labels = torch.randint(given.classes, (given.batch_size,), generator=generator)
    compare(
        "queue update",
        given.rounds,
        batched=lambda: queue.push(batch, labels),
        plain=lambda: plain_push(queues, batch, labels),
    )


def plain_synthesis(queues: Tensor, chosen: BoundarySynthesizer, generator: Generator) -> Tensor:
    """The same on the sphere, one class at a time, by squared distances and a search for the K nearest."""
    outliers = []
    for queue in queues:
        bank = normalize(queue, dim=1)
        boundary = kth_distances(bank, bank, chosen.k + 1).topk(chosen.boundary).indices
        for row in boundary[torch.randperm(chosen.boundary, generator=generator)[: chosen.picks]]:
            noise = torch.randn(chosen.candidates, bank.shape[1], generator=generator)
            candidates = normalize(bank[row] + chosen.sigma * noise, dim=1)
            outliers.append(candidates[kth_distances(candidates, bank, chosen.k).topk(chosen.keep).indices])
    return torch.cat(outliers)


def kth_distances(queries: Tensor, bank: Tensor, k: int) -> Tensor:
    distances = torch.cdist(queries, bank).square()
    return distances.topk(k, dim=1, largest=False).values[:, -1]


def plain_push(queues: list[Tensor], features: Tensor, labels: Tensor) -> None:
    for feature, label in zip(features, labels.tolist()):
        queues[label] = torch.cat([queues[label][1:], feature[None]])


def compare(what: str, rounds: int, batched: Callable[[], object], plain: Callable[[], object]) -> None:
    """Run both in turn, after a first call of each that does not count."""
    times = [(seconds(batched), seconds(plain)) for _ in range(rounds + 1)][1:]
    own, other = (statistics.median(column) for column in zip(*times))
    ratio = statistics.median(slow / fast for fast, slow in times)
    print(f"{what:14} batched {own:7.4f} s   plain {other:7.4f} s   ratio {ratio:.1f}")


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
