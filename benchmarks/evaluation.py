"""What one pass over the images saves over running the network once per detector.

    python benchmarks/evaluation.py [--images 2000] [--backbone fast]

The ten detectors that need features and logits alone, on an ID test set and four OOD sets. Fitted detectors are
fitted before the clock starts; the second comparison counts fitting too, for a training set as large as all test sets.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from outskirts import Classifier, Outputs, evaluate, extract
from outskirts.data.imageset import ImageSet
from outskirts.data.transform import Transform
from outskirts.detectors import registry
from outskirts.evaluation.evaluate import fit_detectors
from outskirts.models.backbones import build_backbone
from outskirts.models.heads import LinearHead

SETS = ("id", "a", "b", "c", "d")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000, help="per set")
    parser.add_argument("--backbone", default="fast")
    given = parser.parse_args()
    torch.manual_seed(0)
    backbone = build_backbone(given.backbone, 3, 32)
    classifier = Classifier(backbone, LinearHead(nn.Linear(backbone.dim, 10)), Transform(32), list("0123456789"))
    passes = Passes(classifier)
    random = np.random.default_rng(0)

    def images(count: int) -> ImageSet:
        pixels = random.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        return ImageSet(pixels, torch.arange(count) % 10, list("0123456789"))

    sets = {name: images(given.images) for name in SETS}
    fitting = {"train": images(5 * given.images), "val": images(200)}
    names = [name for name in registry.names() if not registry[name]().probes]
    print(f"{len(names)} detectors: {', '.join(names)}; {len(SETS)} sets of {given.images} images")
    fitted = {name: registry[name]() for name in names}
    fit_detectors(fitted, **{split: extract(classifier, part) for split, part in fitting.items()})
    total = given.images * len(SETS)

    def measured(chosen: list[str], fit: bool) -> None:
        outputs = {name: extract(classifier, image_set) for name, image_set in sets.items()}
        splits: dict[str, Outputs] = {}
        if fit:
            wanted = {registry[name].fit_on for name in chosen} - {None}
            splits = {split: extract(classifier, fitting[split]) for split in wanted}  # type: ignore[index]
        ood = {name: value for name, value in outputs.items() if name != "id"}
        evaluate(outputs["id"], ood, [registry[n]() if fit else fitted[n] for n in chosen], **splits)

    for title, fit in (("fitted before", False), ("fitting counted", True)):
        passes.count = 0
        once = seconds(lambda fit=fit: measured(names, fit))
        one_pass = passes.count
        passes.count = 0
        each = seconds(lambda fit=fit: [measured([name], fit) for name in names])
        print(
            f"{title:16} one pass {once:6.1f} s, {one_pass / total:.2f} forwards per test image;   "
            f"per detector {each:6.1f} s, {passes.count / total:.2f};   ratio {each / once:.1f}"
        )


class Passes:
    """Counts the images that go through a network."""

    def __init__(self, classifier: Classifier) -> None:
        self.count = 0
        classifier.backbone.register_forward_pre_hook(self._add)

    def _add(self, module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self.count += len(inputs[0])


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
