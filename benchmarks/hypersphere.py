"""What prototypes cost: moving them one sample at a time or in rounds, and CIDER beside its network alone.

    python benchmarks/hypersphere.py [--classes 100] [--rows 1024] [--dim 128] [--rounds 7]
    python benchmarks/hypersphere.py --step fast --batch-size 256 --classes 10 [--rounds 5]
    python benchmarks/hypersphere.py --step resnet18-cifar --batch-size 32 --classes 100 [--rounds 5]

The compared forms run in turn, so that a slow moment of the machine meets all of them; each is forward and backward.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize

from outskirts import seeding
from outskirts.data.loading.batches import Batch
from outskirts.data.transform import Transform
from outskirts.devices import faster_precision
from outskirts.memory import keep_freed_memory
from outskirts.methods import Method, registry
from outskirts.methods.hypersphere import dispersion, mean_update, ordered_update
from outskirts.models.backbones import build_backbone
from outskirts.training.config import resolve_recipe
from outskirts.training.run import assemble


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--rows", type=int, default=1024, help="samples that move the prototypes")
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--step", default="", metavar="BACKBONE", help="compare whole steps on this network instead")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--precision", default="auto", choices=["auto", "bf16", "fp32"])
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    if given.step:
        steps(given, generator)
    else:
        updates(given, generator)


def updates(given: argparse.Namespace, generator: torch.Generator) -> None:
    """The dispersion of moved prototypes, down to the gradient of the samples."""
    prototypes, rows = (
        normalize(torch.randn(count, given.dim, generator=generator), dim=1) for count in (given.classes, given.rows)
    )
    labels = torch.randint(given.classes, (given.rows,), generator=generator)
    print(f"{given.rows} samples of {given.classes} classes × {given.dim}, {torch.get_num_threads()} threads")

    def trained(update: Callable[[Tensor, Tensor, Tensor, float], Tensor]) -> Callable[[], None]:
        def run() -> None:
            samples = rows.clone().requires_grad_()
            dispersion(update(prototypes, samples, labels, 0.95), 0.1).backward()

        return run

    compare(
        given.rounds,
        {"one by one": trained(one_by_one), "in rounds": trained(ordered_update), "class means": trained(mean_update)},
    )


def one_by_one(prototypes: Tensor, samples: Tensor, labels: Tensor, momentum: float) -> Tensor:
    """The papers' update, as it is written."""
    rows = list(prototypes.unbind())
    for sample, label in zip(samples, labels.tolist()):
        rows[label] = normalize(momentum * rows[label] + (1 - momentum) * sample, dim=0)
    return torch.stack(rows)


def steps(given: argparse.Namespace, generator: torch.Generator) -> None:
    """A step of CIDER but for the optimiser's, and its network alone on the same images."""
    device = torch.device("cpu")
    keep_freed_memory()  # As the training loop does.
    precision = faster_precision(device) if given.precision == "auto" else given.precision
    print(
        f"{given.step}, two views of {given.batch_size} images of {given.classes} classes, {precision}, "
        f"{torch.get_num_threads()} threads"
    )
    labels = torch.randint(given.classes, (given.batch_size,), generator=generator)
    views = tuple(
        torch.randn(given.batch_size, 3, 32, 32, generator=generator).contiguous(memory_format=torch.channels_last)
        for _ in range(2)
    )
    batch = Batch(views, labels, 1, 2, generator)
    cider, ordered, supcon = (
        method(name, given.step, given.classes, **options)
        for name, options in (("cider", {"prototypes": "mean"}), ("cider", {}), ("supcon", {}))
    )

    def alone() -> Tensor:
        return ordered.classifier.features(torch.cat(batch.views)).sum()

    def whole(loss: Callable[[], Tensor]) -> Callable[[], None]:
        def run() -> None:
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                value = loss()
            value.backward()

        return run

    compare(
        given.rounds,
        {
            "network alone": whole(alone),
            "cider": whole(lambda: ordered(batch)["loss"]),
            "cider (class means)": whole(lambda: cider(batch)["loss"]),
            "supcon": whole(lambda: supcon(batch)["loss"]),
        },
    )


def method(name: str, backbone: str, classes: int, **options: object) -> Method:
    recipe = resolve_recipe(name, options)
    with seeding.isolated(0):
        names = [str(i) for i in range(classes)]
        classifier = assemble(recipe, build_backbone(backbone, 3, 32), Transform(32), names)
        return registry[name](recipe.settings, classifier).to(memory_format=torch.channels_last).train()


def compare(rounds: int, forms: dict[str, Callable[[], None]]) -> None:
    """Times, and ratios to the first form; a first call of each does not count."""
    times = [[seconds(form) for form in forms.values()] for _ in range(rounds + 1)][1:]
    for i, name in enumerate(forms):
        own = statistics.median(row[i] for row in times)
        ratio = statistics.median(row[i] / row[0] for row in times)
        print(f"{name:20} {1000 * own:9.2f} ms   ÷ {next(iter(forms))}: {ratio:.4f}   (1 / {1 / ratio:.1f})")


def seconds(call: Callable[[], None]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
